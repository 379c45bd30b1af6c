"""The hook of mkdocs.yml: pages of docs/ as the site shows them.

The pages are written for GitHub, where links lead to other files of the repository too, and the mark of a block of code
says how it is tested. In the site such a link is the name of the file, and a file name is the title of its block.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(#[^)\s]*)?\)")
PAGE = re.compile(r"\[([\w/.-]+)\]\((\1(?:README\.md)?)\)")
"""A link whose text is the file that it leads to."""
AGAIN = re.compile(r"(#tm[a-z_]+)-(\d+)\)")
"""A heading that comes again, as `tm.pattern` after `tm.Pattern`, which GitHub numbers in another way."""
BLOCK = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Write out the folders in the navigation, and refuse one that lacks a page."""
    docs = Path(config["docs_dir"])
    config["nav"] = [_entry(each, docs) for each in config["nav"]]
    left = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} - set(_pages(config["nav"]))
    if left:
        raise ValueError(f"mkdocs.yml has no place for {', '.join(sorted(left))}: add it to nav")
    return config


def _entry(entry: Any, docs: Path) -> Any:
    if isinstance(entry, dict):
        return {title: _entry(inner, docs) for title, inner in entry.items()}
    if isinstance(entry, list):
        return [_entry(each, docs) for each in entry]
    if (docs / entry).is_dir():
        return [f"{entry}/README.md", *sorted(f"{entry}/{path.name}" for path in (docs / entry).glob("[!R]*.md"))]
    return entry


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in _pages(each)]


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the text of a page for the site."""
    root = Path(config["docs_dir"]).resolve()
    here = (root / page.file.src_uri).parent
    parts = BLOCK.split(markdown)
    for place, part in enumerate(parts):
        if part.startswith("```"):
            parts[place] = FENCE.sub(_fence, part, count=1)
        else:
            outside = LINK.sub(lambda found: _link(found, here, root), part)
            titled = PAGE.sub(lambda found: _title(found, here), outside)
            parts[place] = AGAIN.sub(r"\1_\2)", titled)
    return "".join(parts)


def _fence(found: re.Match[str]) -> str:
    language, mark = found.groups()
    return f'```{language} title="{mark}"' if "." in mark else f"```{language}"


def _link(found: re.Match[str], here: Path, root: Path) -> str:
    text, target, _ = found.groups()
    path = (here / target).resolve()
    if path.is_relative_to(root):
        return found[0]
    if not path.exists():
        raise FileNotFoundError(f"there is no {target}, which a page in {here} links to")
    name = str(path.relative_to(root.parent))
    return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"


def _title(found: re.Match[str], here: Path) -> str:
    target = found[2]
    heading = re.search(r"^# (.*)$", (here / target).read_text(), re.MULTILINE)
    return found[0] if heading is None else f"[{heading[1]}]({target})"
