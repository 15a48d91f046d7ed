"""The benchmark's API, in a process of its own: as fast as Python can answer.

`python api.py` prints its port. /download and /upload are long bodies, /events sends one event a
moment after the headers (its time in the data). A POST to /login or /auth/sign-in hands out a
token, and /export is a long body in which one lies across two chunks, at HALF. Everything else is a
small JSON answer that says how long the token was that came with the request.
"""

import asyncio
import json
import re
import time
from base64 import urlsafe_b64encode

MEGABYTE = 1024 * 1024
SIZE = 300 * MEGABYTE
HALF = SIZE // 2
TOKEN = "a-token-of-forty-characters-0123456789abc"
JWT = ".".join(
    urlsafe_b64encode(part).decode().rstrip("=")
    for part in (
        b'{"alg":"HS256"}',
        b'{"sub":"42","name":"Ada","exp":4102444800}',
        bytes(range(32)),
    )
)
LINE = b'{"id": 1234, "name": "Ada", "url": "https://example.com/a?b=c%20d"},\n'
PART = LINE * (MEGABYTE // len(LINE))
ANSWERS = {
    b"POST /login": {"authToken": TOKEN},
    b"POST /auth/sign-in": {"access_token": JWT, "refresh_token": "r" + TOKEN},
}


def small(token: bytes) -> bytes:
    return answer(b'{"email": "admin@example.com", "token bytes": %d}' % len(token))


def answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def export(writer: asyncio.StreamWriter) -> None:
    """Lines that may be parts of a token at any chunk's end, and the token's halves apart."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % SIZE)
    token = JWT.encode()
    for before, size, after in (
        (b"", HALF, token[:40]),
        (token[40:], SIZE - HALF - len(token), b""),
    ):
        writer.write(before)
        for at in range(0, size, len(PART)):
            writer.write(PART[: size - at])
            await writer.drain()
        writer.write(after)
        await asyncio.sleep(0.05)  # for the next to be another chunk


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /download"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                part = bytes(MEGABYTE)
                for _ in range(SIZE // MEGABYTE):
                    writer.write(part)
                    await writer.drain()
            elif head.startswith(b"POST /upload"):
                left = SIZE
                while left:
                    left -= len(await reader.read(min(left, MEGABYTE)))
                writer.write(small(b""))
            elif head.startswith(b"GET /export"):
                await export(writer)
            elif head.startswith(tuple(ANSWERS)):
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                path = b" ".join(head.split(b" ")[:2])
                writer.write(answer(json.dumps(ANSWERS[path]).encode()))
            elif head.startswith(b"GET /events"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.2)
                writer.write(b"data: %d\n\n" % time.perf_counter_ns())
                await writer.drain()
                break
            else:
                found = re.search(rb"(?i)\r\n(?:auth-token: |authorization: bearer )(.*)\r\n", head)
                writer.write(small(found[1] if found else b""))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2 * MEGABYTE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
