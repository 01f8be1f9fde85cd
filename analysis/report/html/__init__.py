"""``report.html``: the whole report in one file that needs nothing else, to look at and to search."""
