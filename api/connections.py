"""The server's side of a connection: uvicorn's own, with clocks of ours and with our words."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.app import create_app
from api.problems import Problem, response
from api.services import Services

_SHUTDOWN_SECONDS = 3
#: Longer than clients keep a connection that they may use again (httpx, as uvicorn, 5 s): when
#: both let go at the same moment, a request is lost on a connection that is just being closed.
_IDLE_SECONDS = 75


def config(own: Services, *, host: str, port: int) -> uvicorn.Config:
    """How the application is served."""

    class Connection(Guarded):
        header_seconds = own.settings.header_seconds
        answer_seconds = own.settings.answer_seconds

    return uvicorn.Config(
        create_app(own),
        host=host,
        port=port,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level=own.settings.log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=_IDLE_SECONDS,
    )


class Guarded(H11Protocol):
    """Ends a connection whose request does not come, or whose answer nobody takes.

    What it refuses has the shape of all problems.
    """

    header_seconds: float
    answer_seconds: float
    _clock: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken()
        self._look(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _look(self, before: int) -> None:
        """`before`: bytes that were left of the answer at the last look. No less: nobody reads."""
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:
            self._taking = self.loop.call_later(self.answer_seconds, self._look, left)

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(Problem(status, f"{msg} {error or ''}".strip(), type_="/problems/not-http"))

    def _watch(self) -> None:
        """The clock runs while a request's headers are awaited, from their first byte at most."""
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waiting or self.timeout_keep_alive_task is not None:
            self._stop()  # between two requests uvicorn's own clock runs
        elif self._clock is None:
            self._clock = self.loop.call_later(self.header_seconds, self._late)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._clock = None
        if self.conn.trailing_data[0]:
            words = f"the request's headers did not arrive within {self.header_seconds:g} s"
            self._refuse(Problem(408, words, type_="/problems/too-slow"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            answer = response(problem)
            head = h11.Response(
                status_code=problem.status,
                headers=[*answer.raw_headers, (b"connection", b"close")],
                reason=HTTPStatus(problem.status).phrase.encode(),
            )
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
