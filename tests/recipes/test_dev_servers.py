"""Fresh apps of the usual frameworks, their dev servers behind the proxy, driven in Chromium.

Each names the address that the browser used, and takes what is checked against it: a server action,
a form, the WebSocket of hot module replacement.

Not part of the default run, since they are downloaded: `./run.sh test -m recipes`.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from recipes.servers import npm
from support import (
    ADDON,
    SHORT_WAY,
    Mitmdump,
    Upstream,
    can_connect,
    eventually,
    free_port,
    running,
)

pytestmark = pytest.mark.recipes

# The newest that run with Node.js 20, in November 2026.
VITE = ["vite@8.4.0"]
NEXT = ["next@16.4.6", "react@19.3.1", "react-dom@19.3.1"]
SVELTEKIT = ["@sveltejs/kit@2.70.4", "svelte@5.57.3", "vite@8.4.0"]
SVELTEKIT += ["@sveltejs/vite-plugin-svelte@7.3.1"]
NUXT = ["nuxt@4.3.0"]
ANGULAR = "core common compiler platform-browser platform-server router compiler-cli".split()
ANGULAR = [f"@angular/{name}@21.2.24" for name in [*ANGULAR, "ssr", "build", "cli"]]
ANGULAR += ["typescript@5.9.3", "rxjs@7", "tslib@2", "express@5"]

HOSTS = ["localhost", "127.0.0.1", "shop.localhost"]


class App:
    """A page that has been opened at the proxy's address, and what its console said."""

    def __init__(self, page: Page, folder: Path, address: str) -> None:
        self.page = page
        self.folder = folder
        self.address = address
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def open(self, address: str = "") -> None:
        self.address = address or self.address
        self.page.goto(self.address)

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file of the app, as its developer does."""
        path = self.folder / file
        path.write_text(path.read_text().replace(old, new))

    def shows(self, text: str) -> None:
        expect(self.page.locator("body")).to_contain_text(text)


Open = Callable[..., App]


@pytest.fixture(params=[(ADDON, SHORT_WAY), (ADDON,)], ids=["short way", "long way"])
def open_app(
    request: pytest.FixtureRequest,
    context: BrowserContext,
    confdir: Path,
    tmp_path: Path,
    upstream: Upstream,
) -> Iterator[Open]:
    """Start a dev server, and the proxy before it, on either way to it."""
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    with ExitStack() as stack:

        def open_app(programs: Path, program: str, *options: str, files: dict[str, str]) -> App:
            folder, port = programs.parent.parent, free_port()
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            log = stack.enter_context((tmp_path / "server.log").open("w"))
            quiet = {
                "NEXT_TELEMETRY_DISABLED": "1",
                "NUXT_TELEMETRY_DISABLED": "1",
                "CI": "1",
                "NG_CLI_ANALYTICS": "false",
            }
            server = subprocess.Popen(
                [str(programs / program), *options, "--port", str(port)],
                cwd=folder,
                env={**os.environ, **quiet},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(server.wait)
            stack.callback(os.killpg, server.pid, 15)
            up = eventually(lambda: can_connect(port) or can_connect(port, "::1"), 120)
            assert up, (tmp_path / "server.log").read_text()
            settings = f"cookie_auth_frontend=http://localhost:{port}", "cookie_auth_prefix=/api"
            arguments = [part for one in settings for part in ("--set", one)]
            proxy = stack.enter_context(
                running(Mitmdump(upstream.url, *arguments, confdir=confdir, scripts=request.param))
            )
            return App(context.new_page(), folder, f"http://localhost:{proxy.client.port}")

        yield open_app
    expect.set_options(timeout=5_000)


def test_vites_modules_are_replaced_as_they_change(open_app: Open) -> None:
    script = "export const text = 'first'\n"
    main = """
import { text } from './text.js'
const show = (text) => { document.querySelector('p').textContent = text }
show(text)
import.meta.hot.accept('./text.js', (changed) => show(changed.text))
"""
    page = "<!doctype html><p></p><script type=module src=/main.js></script>"
    files = {"index.html": page, "main.js": main, "text.js": script}
    app = open_app(npm("dev-vite", *VITE), "vite", files=files)
    port = app.address.rpartition(":")[2]
    texts = ["first", "second", "third", "fourth"]
    for host, old, new in zip(HOSTS, texts, texts[1:], strict=False):
        app.console.clear()
        app.open(f"http://{host}:{port}")
        app.shows(old)
        assert eventually(lambda: any("connected" in line for line in seen(app)))
        app.page.evaluate("window.same = true")
        app.edit("text.js", old, new)
        app.shows(new)
        assert app.page.evaluate("window.same")


def seen(app: App) -> list[str]:
    app.page.evaluate("0")  # Playwright tells what came while it is asked something
    return app.console


NEXT_FILES = {
    "app/layout.js": ("export default ({ children }) => <html><body>{children}</body></html>\n"),
    "app/actions.js": """'use server'
import { headers } from 'next/headers'
export async function greet(before, form) {
  return `hello ${form.get('name')} at ${(await headers()).get('host')}`
}
""",
    "app/greeting.js": """'use client'
import { useActionState } from 'react'
import { greet } from './actions'
export default function Greeting() {
  const [text, act] = useActionState(greet, '')
  return <form action={act}><input name="name" /><button>Greet</button><p>{text}</p></form>
}
""",
    "app/page.js": """import { headers } from 'next/headers'
import Greeting from './greeting'
export default async function Page() {
  const all = await headers()
  return <><h1>first at {all.get('host')}, {all.get('x-forwarded-host')}</h1><Greeting /></>
}
""",
}


@pytest.mark.parametrize("host", HOSTS)
def test_nexts_server_actions_and_headers(open_app: Open, host: str) -> None:
    app = open_app(npm("dev-next", *NEXT), "next", "dev", files=NEXT_FILES)
    address = f"{host}:{app.address.rpartition(':')[2]}"
    app.open(f"http://{address}")
    app.shows(f"first at {address}, {address}")
    app.page.fill("input[name=name]", "Ada")
    app.page.click("button")
    app.shows(f"hello Ada at {address}")
    assert eventually(lambda: any("[HMR] connected" in line for line in seen(app)))
    app.edit("app/page.js", "first at", "second at")
    app.shows(f"second at {address}")


SVELTEKIT_FILES = {
    "package.json": '{"type": "module"}',
    "svelte.config.js": "export default {}\n",
    "vite.config.js": (
        "import { sveltekit } from '@sveltejs/kit/vite'\n"
        "export default { plugins: [sveltekit()] }\n"
    ),
    "src/app.html": "<html><head>%sveltekit.head%</head><body>%sveltekit.body%</body></html>",
    "src/routes/+page.server.js": """
export const load = ({ url }) => ({ origin: url.origin })
export const actions = { default: async ({ request, url }) =>
  ({ text: `hello ${(await request.formData()).get('name')} at ${url.origin}` }) }
""",
    "src/routes/+page.svelte": """
<script>let { data, form } = $props()</script>
<h1>first at {data.origin}</h1>
<form method="POST"><input name="name"><button>Greet</button></form>
<p>{form?.text}</p>
""",
}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_sveltekits_origin_and_forms(open_app: Open, host: str) -> None:
    programs = npm("dev-sveltekit", *SVELTEKIT)
    app = open_app(programs, "vite", "dev", files=SVELTEKIT_FILES)
    address = f"http://{host}:{app.address.rpartition(':')[2]}"
    app.open(address)
    app.shows(f"first at {address}")
    app.page.fill("input[name=name]", "Ada")
    app.page.click("button")
    app.shows(f"hello Ada at {address}")


NUXT_FILES = {
    "nuxt.config.ts": "export default { compatibilityDate: '2026-11-01', telemetry: false }\n",
    "app/app.vue": """
<script setup>const url = useRequestURL()</script>
<template><h1>first at {{ url.href }}</h1></template>
""",
}


def test_nuxts_request_url_is_the_same_on_both_sides(open_app: Open) -> None:
    app = open_app(npm("dev-nuxt", *NUXT), "nuxt", "dev", files=NUXT_FILES)
    app.open()
    app.page.wait_for_function("window.useNuxtApp?.().isHydrating === false")
    app.shows(f"first at {app.address}/")
    assert not [line for line in seen(app) if re.search("hydration", line, re.IGNORECASE)]
    app.page.evaluate("window.same = true")
    app.edit("app/app.vue", "first at", "second at")
    app.shows(f"second at {app.address}/")
    assert app.page.evaluate("window.same")


ANGULAR_BUILD = {
    **{"browser": "src/main.ts", "server": "src/main.server.ts", "index": "src/index.html"},
    **{"tsConfig": "tsconfig.json", "outputMode": "server", "optimization": False},
    "ssr": {"entry": "src/server.ts"},
}
ANGULAR_TARGETS = {
    "build": {"builder": "@angular/build:application", "options": ANGULAR_BUILD},
    "serve": {
        "builder": "@angular/build:dev-server",
        "options": {"buildTarget": "app:build"},
    },
}
ANGULAR_PROJECT = {
    **{"projectType": "application", "root": "", "sourceRoot": "src"},
    "architect": ANGULAR_TARGETS,
}
ANGULAR_COMPILER = {
    **{"strict": True, "skipLibCheck": True, "isolatedModules": True, "types": []},
    **{"experimentalDecorators": True, "target": "ES2022", "lib": ["ES2022", "dom"]},
    **{"module": "preserve", "moduleResolution": "bundler"},
}
ANGULAR_FILES = {
    "angular.json": json.dumps({"version": 1, "projects": {"app": ANGULAR_PROJECT}}),
    "tsconfig.json": json.dumps({"compilerOptions": ANGULAR_COMPILER, "include": ["src/**/*.ts"]}),
    "src/index.html": (
        '<!doctype html><html><head><base href="/"></head><body><app-root></app-root></body></html>'
    ),
    "src/app.ts": """import { Component, inject, REQUEST } from '@angular/core'
import { DOCUMENT } from '@angular/common'
@Component({ selector: 'app-root', template: `<h1>first at {{ origin }}</h1>{{ asked }}` })
export class App {
  origin = inject(DOCUMENT).location.origin
  asked = inject(REQUEST, { optional: true })?.url
}
""",
    "src/config.ts": """import { provideZonelessChangeDetection } from '@angular/core'
import { provideRouter } from '@angular/router'
export const config = { providers: [provideZonelessChangeDetection(), provideRouter([])] }
""",
    "src/main.ts": """import { bootstrapApplication } from '@angular/platform-browser'
import { App } from './app'
import { config } from './config'
bootstrapApplication(App, config)
""",
    "src/main.server.ts": """
import { bootstrapApplication, BootstrapContext } from '@angular/platform-browser'
import { mergeApplicationConfig } from '@angular/core'
import { provideServerRendering, withRoutes, RenderMode } from '@angular/ssr'
import { App } from './app'
import { config } from './config'
const routes = withRoutes([{ path: '**', renderMode: RenderMode.Server }])
const all = mergeApplicationConfig(config, { providers: [provideServerRendering(routes)] })
export default (context: BootstrapContext) => bootstrapApplication(App, all, context)
""",
    "src/server.ts": """
import { AngularNodeAppEngine, createNodeRequestHandler, writeResponseToNodeResponse }
  from '@angular/ssr/node'
// @ts-ignore
import express from 'express'
const app = express(), engine = new AngularNodeAppEngine()
app.use((request: any, response: any, next: any) => engine.handle(request)
  .then((got) => got ? writeResponseToNodeResponse(got, response) : next()).catch(next))
export const reqHandler = createNodeRequestHandler(app)
""",
}


def test_angulars_server_knows_the_address(open_app: Open) -> None:
    # Its server renders for localhost alone, unless the app's `allowedHosts` say otherwise; and,
    # as long as the proxy does not know that it is Angular's, leaves that to the browser.
    app = open_app(npm("dev-angular", *ANGULAR), "ng", "serve", files=ANGULAR_FILES)
    app.open()
    app.shows(f"first at {app.address}")
    assert eventually(lambda: any("connected" in line for line in seen(app)))
    rendered = f"{app.address}/</app-root>"
    assert eventually(lambda: rendered in app.page.request.get(app.address).text())
    app.page.evaluate("window.same = true")
    app.edit("src/app.ts", "first at", "second at")
    app.shows(f"second at {app.address}")
    assert app.page.evaluate("window.same")
