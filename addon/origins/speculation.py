"""Requests that nobody has asked for yet: prefetch and prerender."""

import re

from mitmproxy import http

# Names of headers, and the values that say so; None for any value.
_SIGNS = {
    # Chromium and Firefox: `prefetch`, `prefetch;prerender`, `prefetch;anonymous-client-ip`
    # (Fetch, 3.8; Chromium's preloading_headers.h)
    b"sec-purpose": (b"prefetch", b"prerender", b"preview"),
    # Chromium before 2022, Inertia, Next's pages router
    b"purpose": (b"prefetch", b"prerender", b"preview"),
    # Safari (top sites), older Chromium
    b"x-purpose": (b"prefetch", b"prerender", b"preview"),
    # Firefox before 115 (its link prefetching FAQ)
    b"x-moz": (b"prefetch", b"prerender", b"preview"),
    # Turbo, since a script may not set Sec-Purpose (link_prefetch_observer.js)
    b"x-sec-purpose": (b"prefetch", b"prerender", b"preview"),
    # Next (app-router-headers.ts): `1` or `2`; the path of a segment
    b"next-router-prefetch": None,
    b"next-router-segment-prefetch": None,
    # Next's pages router (shared/lib/router/router.ts)
    b"x-middleware-prefetch": None,
    # htmx's preload extension (htmx-ext-preload, preload.js)
    b"hx-preloaded": (b"true",),
}

_BETWEEN_WORDS = re.compile(rb"[\s;,]+")


def is_speculative(headers: http.Headers) -> bool:
    """Whether a request is made in advance of a click that may never come.

    Chromium marks a page's speculation rules `Sec-Fetch-Site: none`, as if the user had typed the
    address, and sends the cookies with them from any port of the host: of such a request it is not
    known whose page made it.

    Not told from a real request, since nothing marks them: SvelteKit's and Astro's `fetch`,
    Livewire's `wire:navigate.hover`. React Router, Nuxt, quicklink and instant.page use
    `<link rel=prefetch>` or speculation rules, which the browser marks.
    """
    for name, value in headers.fields:
        key = name.lower()
        if key in _SIGNS:
            words = _SIGNS[key]
            if words is None or not set(words).isdisjoint(_BETWEEN_WORDS.split(value.lower())):
                return True
    return False
