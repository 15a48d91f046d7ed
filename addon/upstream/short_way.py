"""The short way: a layer under the browser's connection that asks the front end itself.

mitmproxy's HTTP layer makes a flow of each request, and calls hooks at each of its steps. This
layer stands above it. A plain GET or HEAD for the front end, whose head can be read in one way only
(`messages.http1`), it sends on over a connection of its own, in the form that who `Decides` gives
it. All other bytes go to mitmproxy's own layers, the long way, and they say when that is over: no
byte is framed by two.

What fails before the browser got a byte of the answer goes the long way as well, which asks again
and makes the error page. So the front end gets such a request twice, as it would from a browser
whose kept connection breaks (RFC 9110, 9.2.2 and RFC 9112, 9.3.1), and once more where the long way
has a kept connection that breaks as well; they are GET and HEAD only.

The layer never waits in mitmproxy's way (`Layer.handle_event` would hold events back), so that a
browser that leaves while a connection is made is noticed at once.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

from messages import http1
from messages.http1 import ForBrowser, ForFrontEnd, Unread
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer, NextLayer
from mitmproxy.proxy.layers.http import Http1Server, HttpLayer

from upstream.mending import lines_of

Commands = Generator[commands.Command, Any, None]

SECONDS_TO_CONNECT = 1


class Decides(Protocol):
    """Who decides about heads. None stands for the long way."""

    def to_front_end(self, head: bytes, client: Client) -> ForFrontEnd | None:
        """The request with this head, as the front end gets it."""

    def to_browser(self, head: bytes, about: object) -> ForBrowser | None:
        """The answer with this head, as the browser gets it; see `ForFrontEnd.about`."""

    def answered(self) -> None:
        """A request is over."""


@dataclass
class UnderWay:
    """A request, and what is here of its answer."""

    head: bytes
    """As the browser sent it."""
    sent: ForFrontEnd
    answer: Unread = field(default_factory=Unread)
    """What came of the answer's head."""
    body: http1.Body | None = None
    """Set as soon as the browser got the answer's head."""
    closes: bool = False


class _Patience(commands.RequestWakeup):
    """How long a connection may take; the long way waits longer, and says why there is none."""

    def __init__(self, opening: commands.OpenConnection) -> None:
        super().__init__(SECONDS_TO_CONNECT)
        self.opening = opening


class LongWay(NextLayer):
    """What mitmproxy puts under a connection, chosen as if the short way were not there."""

    below_short_way = True
    """By which `next_layer()` hooks know it, also those of a script that was reloaded."""


class ShortWayLayer(Layer):
    """One browser's connection."""

    def __init__(self, context: Context, decides: Decides) -> None:
        super().__init__(context)
        context.layers.remove(self)  # as NextLayer does: mitmproxy looks at what is there
        self.decides = decides
        self.long_way: LongWay | None = None
        self.for_good = False
        """Whether all that is still to come goes the long way."""
        self.closed = False
        """Whether the browser's connection was closed here."""
        self.unread = Unread()
        """What has come from the browser and went nowhere yet."""
        self.asked: UnderWay | None = None
        self.front_end: Server | None = None
        self.opening: commands.OpenConnection | None = None
        self.let_go: set[Server] = set()
        """Connections that were closed here, of which mitmproxy has not reported the end."""

    def handle_event(self, event: events.Event) -> Commands:
        try:
            yield from self._handle_event(event)
        except Exception:  # mitmproxy logs it, and would leave the browser waiting
            yield from self._break_off()
            raise

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.ConnectionEvent):
            connection = event.connection
            if connection is self.context.client:
                if isinstance(event, events.DataReceived):
                    yield from self._browser_sent(event)
                else:
                    yield from self._browser_left(event)
            elif connection is self.front_end:
                if isinstance(event, events.DataReceived):
                    yield from self._front_end_sent(event.data)
                else:
                    yield from self._front_end_left(self.front_end)
            elif connection not in self.let_go:
                yield from self._tell_long_way(event)
            elif isinstance(event, events.ConnectionClosed):
                self.let_go.discard(connection)
        elif isinstance(event, events.OpenConnectionCompleted) and self._opened(event):
            if event.command is self.opening:
                yield from self._connected(event.reply)
            elif event.reply:
                self.let_go.discard(event.command.connection)
        elif isinstance(event, events.Wakeup) and isinstance(event.command, _Patience):
            if event.command.opening is self.opening:  # the long way tells why, when it knows
                self.for_good = True
                yield from self._let_go()
                yield from self._take_long_way()
        elif not isinstance(event, events.Start):
            yield from self._tell_long_way(event)

    def _opened(self, event: events.OpenConnectionCompleted) -> bool:
        return event.command is self.opening or event.command.connection in self.let_go

    # The browser

    def _browser_sent(self, event: events.DataReceived) -> Commands:
        if self.closed:
            return
        if self.asked or self.unread.data or self._is_between_requests():
            self.unread.data += event.data
            if not self.asked:
                yield from self._go_on()
        else:
            yield from self._tell_long_way(event)

    def _browser_left(self, event: events.ConnectionEvent) -> Commands:
        """It wants no answer any more: mitmproxy takes a half-closed one for gone, too
        (`Http1Connection.wait`)."""
        if self.closed:
            return
        self.asked = None
        self.unread.take_all()
        self.for_good = True
        yield from self._let_go()
        if self.long_way:
            yield from self._tell_long_way(event)
        elif self.context.client.state is not ConnectionState.CLOSED:
            yield from self._close()

    def _go_on(self) -> Commands:
        """Take the next request out of what is unread, if it is there."""
        while self.unread.data and not self.asked:
            try:
                head = self.unread.take_head()
            except ValueError:
                self.for_good = True
                yield from self._take_long_way()
                return
            if head is None:
                return
            sent = self.decides.to_front_end(head, self.context.client)
            if sent:
                yield from self._ask(UnderWay(head, sent))
            else:
                self.for_good = self.for_good or not http1.is_well_formed(head)
                yield from self._take_long_way(head)

    # The long way

    def _take_long_way(self, head: bytes = b"") -> Commands:
        """With this head, or that of the request under way, and all that came after it."""
        if self.asked:
            head = self.asked.head
        self.asked = None
        data = head + self.unread.take_all()
        yield from self._tell_long_way(events.DataReceived(self.context.client, data))

    def _tell_long_way(self, event: events.Event) -> Commands:
        if self.long_way is None:
            self.long_way = LongWay(self.context)
            yield from self.long_way.handle_event(events.Start())
        yield from self.long_way.handle_event(event)

    def _is_between_requests(self) -> bool:
        """Whether what comes next is the beginning of a request, as mitmproxy's own layers say."""
        if self.for_good:
            return False
        if self.long_way is None:
            return True
        for layer in self.context.layers:
            if isinstance(layer, HttpLayer):
                server = layer.connections.get(self.context.client)
                return (
                    isinstance(server, Http1Server)
                    and server.request is None
                    and not server.buf
                    and server.state == server.read_headers
                    and not layer.streams
                )
        return False

    # The front end

    def _ask(self, asked: UnderWay) -> Commands:
        self.asked = asked
        if self.front_end and self.front_end.address != asked.sent.address:
            yield from self._let_go()
        if self.front_end:
            yield from self._send()
        else:
            self.front_end = Server(address=asked.sent.address)
            self.opening = commands.OpenConnection(self.front_end)
            self.opening.blocking = self  # type: ignore[assignment]  # no layer waits for it
            yield _Patience(self.opening)
            yield self.opening

    def _connected(self, error: str | None) -> Commands:
        self.opening = None
        if error:
            self.front_end = None
            yield from self._take_long_way()
        else:
            yield from self._send()

    def _send(self) -> Commands:
        assert self.asked
        assert self.front_end
        yield commands.SendData(self.front_end, self.asked.sent.head)

    def _let_go(self) -> Commands:
        if self.front_end:
            self.let_go.add(self.front_end)
            yield commands.CloseConnection(self.front_end)
        self.front_end = self.opening = None

    def _front_end_sent(self, data: bytes) -> Commands:
        asked = self.asked
        if asked is None:  # nobody has asked for this, and nobody may take it for his answer
            yield from self._let_go()
            return
        head = b""
        if asked.body is None:
            asked.answer.data += data
            came = self._final_head(asked.answer)
            if came is None:
                return
            answer = self.decides.to_browser(came, asked.sent.about) if came else None
            if answer is None:
                self.for_good = True  # else it would be asked for twice each time
                yield from self._let_go()
                yield from self._take_long_way()
                return
            head, data = answer.head, asked.answer.take_all()
            asked.body = http1.Body(answer.left)
            asked.closes = asked.body.ends_connection or asked.sent.closes or answer.closes
        try:
            # Head and body at once: writing is what takes the most time.
            if out := head + asked.body(data):
                yield commands.SendData(self.context.client, out)
        except ValueError:
            if head:
                yield commands.SendData(self.context.client, head)
            yield from self._break_off()
            return
        if asked.body.done:
            yield from self._answered(asked, asked.body)

    @staticmethod
    def _final_head(answer: Unread) -> bytes | None:
        """The head that is no interim answer's; None as long as it is not there, and an empty one
        where there is none to come."""
        try:
            while (head := answer.take_head()) and http1.is_interim(head):
                interim = http1.read_answer(head, lines_of)
                if interim is None or interim.status_code == 101:  # it was not asked to
                    return b""
        except ValueError:
            return b""
        return head

    def _front_end_left(self, front_end: Server) -> Commands:
        self.front_end = None
        if front_end.state is not ConnectionState.CLOSED:
            yield commands.CloseConnection(front_end)
        asked = self.asked
        if asked is None:
            return
        if asked.body:
            if asked.body.end():
                yield from self._answered(asked, asked.body)
            else:
                yield from self._break_off()
        else:
            yield from self._take_long_way()

    def _answered(self, asked: UnderWay, body: http1.Body) -> Commands:
        self.asked = None
        self.decides.answered()
        if asked.closes or body.surplus:
            yield from self._let_go()
        if asked.closes:
            yield from self._close()
        else:
            yield from self._go_on()

    def _break_off(self) -> Commands:
        """Part of the answer was sent, and the rest will not come: so the browser must learn."""
        self.asked = None
        yield from self._let_go()
        yield from self._close()

    def _close(self) -> Commands:
        self.closed = True
        self.unread.take_all()
        yield commands.CloseConnection(self.context.client)
