from typing import Any

class _Library:
    PH_READ: int
    PH_WRITE: int
    PH_READY: int
    PH_BLOCKED: int
    PH_NOTIFY: int
    PH_LISTEN: int
    PH_OPEN: int
    PH_MORE: int
    PH_WRITABLE: int
    PH_READABLE: int
    PH_ACCEPTED: int
    PH_CLOSE_SENT: int
    PH_CLOSE_NOW: int
    PH_CLOSED: int
    PH_BATCH: int

    def ph_flush(self, loop: Any, data: bytes, count: int) -> int: ...
    def ph_turn(
        self,
        loop: Any,
        data: bytes,
        count: int,
        deferred: int,
        timeout_ms: int,
        accept_room: int,
    ) -> int: ...
    def ph_watch(self, loop: Any, fd: int, interest: int, events: int) -> int: ...
    def ph_unwatch(self, loop: Any, fd: int) -> int: ...
    def ph_close(self, loop: Any, fd: int) -> int: ...
    def ph_watch_calls(self, loop: Any, budget_us: int) -> int: ...
    def ph_stop_watching(self, loop: Any) -> None: ...
    def ph_shutdown_write(self, fd: int) -> int: ...
    def ph_reset_on_close(self, fd: int) -> int: ...

class _ForeignFunctions:
    def new(self, declaration: str, init: object = ...) -> Any: ...
    def from_buffer(self, declaration: str, buffer: object) -> Any: ...
    def addressof(self, data: Any, field: str) -> Any: ...
    def buffer(self, data: Any, size: int = ...) -> Any: ...

lib: _Library
ffi: _ForeignFunctions
