"""The command line's flags for settings.

Lives here: their names and what --help says. Must not live here: parsing (``cli``), defaults and
reasons (``settings``).
"""

from __future__ import annotations

# Flag, setting, metavar, help. Everything else that Settings has can be set by POOLHTTP_NAME.

THREADS = (
    ("threads", "threads", "N", "most app threads of a worker"),
    ("dispatch", "dispatch", "HOW", "where the app runs: adaptive, inline or threads"),
    ("inline-budget", "inline_budget", "SECONDS", "how long an app call may keep the loop"),
    ("queue-limit", "queue_limit", "N", "most requests that wait for a thread (503)"),
    ("queue-target", "queue_target", "SECONDS", "longest wait for a thread in overload (503)"),
    ("shed-exempt", "shed_exempt", "PATHS", "paths that are never shed, with commas between"),
    ("timeout", "timeout", "SECONDS", "of an app call, until the log says so"),
    ("handler-timeout", "handler_timeout", "SECONDS", "of an app call (504); 0: none"),
    ("switch-interval", "switch_interval", "SECONDS", "of the GIL, with several threads"),
)

LIMITS = (
    (
        "keep-alive",
        "keepalive",
        "SECONDS",
        "wait for a connection's next request; 0 closes at once",
    ),
    ("head-timeout", "head_timeout", "SECONDS", "for a whole request head (408)"),
    ("body-timeout", "body_timeout", "SECONDS", "longest pause in a request body (408)"),
    ("write-timeout", "write_timeout", "SECONDS", "longest time a client takes nothing"),
    ("graceful-timeout", "graceful_timeout", "SECONDS", "for requests under way at a stop"),
    ("limit-request-line", "limit_request_line", "BYTES", "longest request line (414)"),
    ("limit-request-fields", "limit_request_fields", "N", "most header fields (431)"),
    ("limit-request-field-size", "limit_request_field_size", "BYTES", "longest field (431)"),
    ("max-body", "max_body", "BYTES", "largest request body (413); 0: no limit"),
    ("worker-connections", "worker_connections", "N", "most connections of a worker"),
    ("backlog", "backlog", "N", "length of the accept queue"),
    ("forwarded-allow-ips", "forwarded_allow_ips", "LIST", "proxies to believe; * for all"),
    ("script-name", "script_name", "PATH", "path prefix at which the app is mounted"),
    ("server-header", "server_header", "TEXT", "value of the Server field; '' for none"),
)
