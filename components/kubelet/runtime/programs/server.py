"""The built-in programs behind catalog images: nginx, httpd, echo, agnhost, pause. Stdlib only; one file, fast start.

Run inside a container as `python -I -S server.py PROGRAM [ARGS…]`. Listens on the pod's own address; a port below
1024 is shifted by KUBEGLASS_PORT_SHIFT where the host keeps such ports for root.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

_STARTED = time.monotonic()
_REASONS = {
    200: "OK", 301: "Moved Permanently", 302: "Found", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_TYPES = {
    "html": "text/html", "htm": "text/html", "css": "text/css", "js": "application/javascript", "svg": "image/svg+xml",
    "json": "application/json", "txt": "text/plain", "xml": "text/xml", "png": "image/png", "jpg": "image/jpeg",
    "ico": "image/x-icon",
}  # fmt: skip


class Request:
    """One HTTP request."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, peer: tuple[str, int]) -> None:
        self.method = method
        self.target = target
        self.path, _, query = target.partition("?")
        self.headers = headers
        self.body = body
        self.peer = peer
        self._query = query

    def query(self, name: str) -> str:
        """The first value of a query parameter, decoded."""
        for pair in self._query.split("&"):
            key, _, value = pair.partition("=")
            if _unquote(key) == name:
                return _unquote(value)
        return ""


class Response:
    """One HTTP response."""

    def __init__(
        self,
        body: bytes | str = b"",
        status: int = 200,
        content_type: str = "text/plain; charset=utf-8",
        **headers: str,
    ) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        self.headers = {"Content-Type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}}


Handler = Callable[[Request], Response]


def _unquote(text: str) -> str:
    parts = text.replace("+", " ").encode().split(b"%")
    out = parts[0]
    for part in parts[1:]:
        try:
            out += bytes([int(part[:2], 16)]) + part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode(errors="replace")


# -- serving ------------------------------------------------------------------------------------------------------


def pod_address() -> str:
    return os.environ.get("KUBEGLASS_POD_IP") or "0.0.0.0"


def bound_port(port: int) -> int:
    """The port that is really bound for a container port."""
    return port + int(os.environ.get("KUBEGLASS_PORT_SHIFT") or 0) if port < 1024 else port


def hostname() -> str:
    return os.environ.get("HOSTNAME") or socket.gethostname()


def listen(port: int) -> socket.socket:
    """A listening TCP socket on the pod's address; ends the program, saying why, when it cannot be had."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((pod_address(), bound_port(port)))
    except OSError as error:
        sys.exit(f"bind() to {pod_address()}:{port} failed ({error.errno}: {error.strerror})")
    sock.listen(511)
    return sock


def serve(listener: socket.socket, handler: Handler, server: str, log: Callable[[Request, Response], None]) -> None:
    """Answer requests forever, a thread per connection."""
    while True:
        try:
            connection, peer = listener.accept()
        except OSError:
            continue
        _thread.start_new_thread(_converse, (connection, peer, handler, server, log))


def _converse(
    connection: socket.socket,
    peer: tuple[str, int],
    handler: Handler,
    server: str,
    log: Callable[[Request, Response], None],
) -> None:
    connection.settimeout(75)
    buffer = b""
    try:
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data or len(buffer) > 65536:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            method, target, version = [*line.split(" "), "", "HTTP/1.0"][:3]
            headers = {k.strip().title(): v.strip() for k, _, v in (text.partition(":") for text in lines)}
            length = int(headers.get("Content-Length") or 0)
            while len(buffer) < length:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            body, buffer = buffer[:length], buffer[length:]
            request = Request(method, target, headers, body, peer)
            response = handler(request)
            keep = version == "HTTP/1.1" and headers.get("Connection", "").lower() != "close"
            connection.sendall(_render(request, response, server, keep))
            log(request, response)
            if not keep:
                return
    except (OSError, ValueError):
        return
    finally:
        connection.close()


def _render(request: Request, response: Response, server: str, keep: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}",
        *([f"Server: {server}"] if server else []),
        time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        *(f"{key}: {value}" for key, value in response.headers.items()),
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if request.method == "HEAD" else head + response.body


def say(text: str) -> None:
    print(text, flush=True)


def access_log(request: Request, response: Response) -> None:
    """nginx's `main` format, which httpd's `combined` differs from only in the last field."""
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    agent, referer = request.headers.get("User-Agent", "-"), request.headers.get("Referer", "-")
    forwarded = request.headers.get("X-Forwarded-For", "-")
    say(
        f'{request.peer[0]} - - [{stamp}] "{request.method} {request.target} HTTP/1.1" {response.status} '
        f'{len(response.body)} "{referer}" "{agent}" "{forwarded}"'
    )


def no_log(request: Request, response: Response) -> None:
    """For programs that do not log requests."""


def end_on(*numbers: int) -> None:
    """Exit at once and with code 0 on these signals, as servers do that have nothing to drain."""
    for number in numbers:
        signal.signal(number, lambda received, frame: os._exit(0))


# -- web servers ----------------------------------------------------------------------------------------------------

NGINX_PAGE = """<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
<style>html { color-scheme: light dark; } body { width: 35em; margin: 0 auto; font-family: sans-serif; }</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page is served by kubeglass's built-in stand-in for the nginx image, from a real process of this Pod.
Mount a volume at <em>/usr/share/nginx/html</em> to serve your own files.</p>
</body>
</html>
"""
HTTPD_PAGE = "<html><body><h1>It works!</h1></body></html>\n"


def files(root: str, welcome: str, error_page: Callable[[int], str]) -> Handler:
    """Files below `root`; a welcome page as long as that directory does not exist."""

    def handle(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(error_page(405), 405, "text/html")
        path = os.path.normpath("/" + _unquote(request.path).lstrip("/"))
        if not os.path.isdir(root):
            if path in ("/", "/index.html"):
                return Response(welcome, content_type="text/html")
            return Response(error_page(404), 404, "text/html")
        file = root + path
        if os.path.isdir(file):
            file += "/index.html"
            if not os.path.exists(file):
                return Response(error_page(403), 403, "text/html")
        try:
            with open(file, "rb") as stream:
                content = stream.read()
        except PermissionError:
            return Response(error_page(403), 403, "text/html")
        except OSError:
            return Response(error_page(404), 404, "text/html")
        return Response(content, content_type=_TYPES.get(file.rpartition(".")[2], "application/octet-stream"))

    return handle


def nginx(args: list[str]) -> None:
    def error_page(status: int) -> str:
        title = f"{status} {_REASONS[status]}"
        return (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
            "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        )

    end_on(signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
    listener = listen(80)
    if os.path.isdir("/etc/nginx"):
        say("[notice] mounted nginx configuration is not read by this built-in server")
    say("[notice] start worker processes")
    serve(listener, files("/usr/share/nginx/html", NGINX_PAGE, error_page), "nginx", access_log)


def httpd(args: list[str]) -> None:
    def error_page(status: int) -> str:
        title = f"{status} {_REASONS[status]}"
        return f"<html><head>\n<title>{title}</title>\n</head><body>\n<h1>{_REASONS[status]}</h1>\n</body></html>\n"

    end_on(signal.SIGTERM, signal.SIGWINCH, signal.SIGINT)
    listener = listen(80)
    say("[notice] httpd: resuming normal operations")
    serve(listener, files("/usr/local/apache2/htdocs", HTTPD_PAGE, error_page), "Apache", access_log)


def echo(args: list[str]) -> None:
    """The request, told back. `-text=…` and `-listen=:PORT` as hashicorp/http-echo has them."""
    options = _options(args)
    text = options.get("text")
    port = int((options.get("listen") or ":" + os.environ.get("PORT", "5678" if text else "8080")).rpartition(":")[2])

    def handle(request: Request) -> Response:
        if text is not None:
            return Response(text + "\n")
        lines = [
            "", "", f"Hostname: {hostname()}", "", "Pod Information:", f"\tpod IP:\t{pod_address()}", "",
            "Request Information:", f"\tclient_address={request.peer[0]}", f"\tmethod={request.method}",
            f"\treal path={request.target}", "\trequest_version=1.1", "", "Request Headers:",
            *(f"\t{key.lower()}={value}" for key, value in sorted(request.headers.items())), "",
            "Request Body:", request.body.decode(errors="replace") or "\t-no body in request-", "",
        ]  # fmt: skip
        return Response("\n".join(lines))

    end_on(signal.SIGTERM, signal.SIGINT)
    serve(listen(port), handle, "echoserver", access_log)


# -- agnhost --------------------------------------------------------------------------------------------------------


def agnhost(args: list[str]) -> None:
    """The subcommands of the Kubernetes test image that run as servers."""
    commands: dict[str, Callable[[list[str]], None]] = {
        "pause": pause, "netexec": netexec, "serve-hostname": serve_hostname, "liveness": liveness,
    }  # fmt: skip
    name, *rest = args or ["pause"]
    if name not in commands:
        sys.exit(f'Error: unknown command "{name}" for "app" (built in: {", ".join(sorted(commands))})')
    commands[name](rest)


def netexec(args: list[str]) -> None:
    options = _options(args)
    end_on(signal.SIGTERM, signal.SIGINT)
    http_port, udp_port = int(options.get("http-port") or 8080), int(options.get("udp-port") or 8081)
    if udp_port > 0:
        _thread.start_new_thread(_netexec_udp, (udp_port,))
    say(f"Started HTTP server on port {http_port}")
    serve(listen(http_port), _netexec_http, "", lambda request, response: say(f"GET {request.target}"))


def _netexec_http(request: Request) -> Response:
    path = request.path.rstrip("/") or "/"
    if path == "/":
        return Response(f"NOW: {time.strftime('%Y-%m-%d %H:%M:%S +0000 UTC', time.gmtime())}")
    if path in ("/hostname", "/hostName"):
        return Response(hostname())
    if path == "/echo":
        code = request.query("code")
        return Response(request.query("msg"), int(code) if code.isdecimal() else 200)
    if path == "/clientip":
        return Response(f"{request.peer[0]}:{request.peer[1]}")
    if path == "/header":
        return Response(request.headers.get(request.query("key").title(), ""))
    if path in ("/healthz", "/readyz"):
        return Response("")
    if path == "/exit":
        return _exit_later(request)
    if path == "/redirect":
        return Response("", int(request.query("code") or 302), Location=request.query("location"))
    if path in ("/shell", "/shutdown"):
        return _shell(request) if path == "/shell" else _exit_later(request)
    return Response("404 page not found\n", 404)


def _exit_later(request: Request) -> Response:
    code = int(request.query("code") or 0)
    wait = _seconds(request.query("wait"))

    def end() -> None:
        time.sleep(wait or 0.05)
        os._exit(code)

    _thread.start_new_thread(end, ())
    return Response("")


def _shell(request: Request) -> Response:
    import json
    import subprocess

    command = request.query("cmd") or request.query("shellCommand")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    answer = {"output": done.stdout + done.stderr}
    if done.returncode:
        answer["error"] = f"exit status {done.returncode}"
    return Response(json.dumps(answer))


def _netexec_udp(port: int) -> None:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((pod_address(), bound_port(port)))
    say(f"Started UDP server on port {port}")
    while True:
        data, peer = sock.recvfrom(65536)
        command, _, rest = data.decode(errors="replace").strip().partition(" ")
        if command.lower() == "hostname":
            answer = hostname()
        elif command.lower() == "clientip":
            answer = f"{peer[0]}:{peer[1]}"
        else:
            answer = rest
        sock.sendto(answer.encode(), peer)


def serve_hostname(args: list[str]) -> None:
    port = int(_options(args).get("port") or 9376)
    end_on(signal.SIGTERM, signal.SIGINT)
    serve(listen(port), lambda request: Response(hostname()), "", no_log)


def liveness(args: list[str]) -> None:
    """Healthy for ten seconds, then not: what the liveness probe tutorial runs."""

    def handle(request: Request) -> Response:
        seconds = time.monotonic() - _STARTED
        if request.path == "/started":
            return Response(f"{seconds:.0f}")
        if seconds > 10:
            return Response(f"error: {seconds:.6f}", 500)
        return Response("ok")

    end_on(signal.SIGTERM, signal.SIGINT)
    serve(listen(8080), handle, "", no_log)


def pause(args: list[str]) -> NoReturn:
    """Wait for a signal, reaping orphans, as the pause image does."""
    end_on(signal.SIGTERM, signal.SIGINT)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        signal.pause()
        while _reaped():
            pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _options(args: list[str]) -> dict[str, str]:
    """`--name=value`, `--name value` and the same with one dash."""
    options: dict[str, str] = {}
    pending = list(args)
    while pending:
        name, equals, value = pending.pop(0).lstrip("-").partition("=")
        if not equals and pending and not pending[0].startswith("-"):
            value = pending.pop(0)
        options[name] = value
    return options


def _seconds(text: str) -> float:
    """A Go duration of one unit."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text or 0)


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "nginx": nginx, "httpd": httpd, "echo": echo, "agnhost": agnhost, "pause": pause,
}  # fmt: skip


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
