"""An addon whose hooks do nothing: what mitmproxy itself asks of every addon."""

from mitmproxy import http


class Idle:
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        pass

    async def request(self, flow: http.HTTPFlow) -> None:
        pass

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        pass

    async def response(self, flow: http.HTTPFlow) -> None:
        pass


addons = [Idle()]
