"""Single queries over time: which ones are worth showing, and what happens in them."""
