"""The least product: it asks Twinlock what a login needs. Python's standard library is enough."""

import http.client
import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

ADDRESS = os.environ["TWINLOCK_ADDRESS"]  # unix:/run/twinlock/twinlock.sock or http://127.0.0.1:6238


class Twinlock(http.client.HTTPConnection):
    """A connection to the container beside this one."""

    def __init__(self):
        super().__init__(urlsplit(ADDRESS).netloc or "localhost", timeout=6)

    def connect(self):
        if not ADDRESS.startswith("unix:"):
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(ADDRESS.removeprefix("unix:"))


def evaluate_login(user):
    connection = Twinlock()
    try:
        body = json.dumps({"channel": "LOGIN_CHANNEL_FORM"})
        path = f"/v1/users/{quote(user, safe='')}/login"
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path != "/login":
            return self.answer(200, {"shop": "open"})
        try:
            status, answer = evaluate_login(parse_qs(url.query)["user"][0])
        except (OSError, ValueError) as error:
            return self.answer(503, {"message": f"Try again later: {error}"})  # and nobody is let in
        self.answer(status, answer)

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


ThreadingHTTPServer(("", 8080), Shop).serve_forever()
