"""The benchmark's API, in a process of its own: as fast as Python can answer.

`python api.py` prints its port. /download and /upload are long bodies, /events sends one event a
moment after the headers (its time in the data), everything else is a small JSON answer.
"""

import asyncio
import time

MEGABYTE = 1024 * 1024
SIZE = 300 * MEGABYTE


def small(token: bytes) -> bytes:
    body = b'{"email": "admin@example.com", "token bytes": %d}' % len(token)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


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
            elif head.startswith(b"GET /events"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.2)
                writer.write(b"data: %d\n\n" % time.perf_counter_ns())
                await writer.drain()
                break
            else:
                _, found, rest = head.lower().partition(b"\r\nauth-token: ")
                writer.write(small(rest.partition(b"\r\n")[0] if found else b""))
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
