"""A hook of the docs' site: links to files outside docs/ lead to the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page with its links to files outside docs/ made addresses in the repository."""
    folder = posixpath.dirname(page.file.src_uri)

    def address(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        return link[0] if path.startswith("docs/") else f"]({config.repo_url}/blob/main/{path})"

    return re.sub(r"\]\(((?:\.\./)+[^)\s]*)\)", address, markdown)
