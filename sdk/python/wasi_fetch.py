"""The name that `wfn.fetch` had before; for projects that still use it."""

from wfn.fetch import Answer, Request, fetch, fetch_all

__all__ = ["Answer", "Request", "fetch", "fetch_all"]
