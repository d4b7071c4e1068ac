"""The server of repositories that tests fetch from, and a host's forges on it."""

from __future__ import annotations

from collections.abc import Mapping

from aegis.core.address import Forge
from aegis.core.port import Secret
from notebooks.hub import Asked, Failure, Hub, Link, Repo, Submodule

__all__ = ["Asked", "Failure", "Hub", "Link", "Repo", "Submodule", "forges"]


def forges(hub: Hub, token: str | None = None) -> Mapping[str, Forge]:
    """The names that addresses begin with, all on `hub`; `work` is a GitLab of one's own."""
    secret = None if token is None else Secret(token)
    return {
        "github": Forge(kind="github", api=hub.github, token=secret),
        "gitlab": Forge(kind="gitlab", api=hub.gitlab, token=secret),
        "gitea": Forge(kind="gitea", api=hub.gitea, token=secret),
        "work": Forge(kind="gitlab", api=hub.gitlab, token=secret),
    }
