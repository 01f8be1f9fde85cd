"""``make docs``: writes every generated page; ``--check`` only says which ones are not up to date."""

from __future__ import annotations

import sys

from .pages import generated, stale


def main() -> int:
    """0 where all is up to date afterwards."""
    if "--check" in sys.argv[1:]:
        print("\n".join(found := stale()))
        return 1 if found else 0
    for path, content in generated().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
