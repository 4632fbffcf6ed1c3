"""Which proxy leads to a URL: that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY names the host.

Behind a proxy it is the proxy that resolves names, so addresses are neither checked nor pinned here: keeping requests
out of a private network is then the proxy's task. What can still be told is refused: a private address written in
numbers. This machine itself (`localhost`, 127.0.0.0/8, ::1) is always asked directly, since a proxy's `localhost` is
another machine.
"""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies_environment, proxy_bypass_environment

import httpcore
import httpx

from clet.sources.adapter import SourceFailed
from clet.sources.web.addresses import is_public, numeric_address


class Proxies:
    """The proxies that the environment names. Raises SourceFailed for one that cannot be used, when it is needed."""

    def __init__(self, allow_private: bool):
        self._allow_private = allow_private
        self._named = getproxies_environment()

    def for_url(self, url: httpx.URL) -> str | None:
        """The URL of the proxy to ask, None to ask the host itself."""
        proxy, host = self._named.get(url.scheme) or self._named.get("all"), url.raw_host.decode("ascii")
        if not proxy or proxy_bypass_environment(host, self._named):
            return None
        address = numeric_address(host)
        if host == "localhost" or (address and ipaddress.ip_address(address.partition("%")[0]).is_loopback):
            return None
        if address and not self._allow_private and not is_public(address):
            raise SourceFailed(f"{host}: {address} is a private address; --allow-private permits it")
        return proxy


def parse_proxy(text: str) -> httpcore.Proxy:
    """A proxy from the environment. Raises SourceFailed, without showing its credentials."""
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
    except (httpx.InvalidURL, ValueError):
        raise SourceFailed("the proxy that the environment names is no URL of http or https") from None
    if proxy.url.scheme not in ("http", "https"):
        raise SourceFailed(f"{proxy.url.scheme}: proxies are not supported; name one of http or https")
    url = httpcore.URL(
        scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
    )
    tls = httpx.create_ssl_context() if proxy.url.scheme == "https" else None
    return httpcore.Proxy(url, auth=proxy.raw_auth, ssl_context=tls)
