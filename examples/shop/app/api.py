"""POST /orders puts an order into the queue; GET /orders shows those that are written down."""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop import WAITING, database, queue


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            queue().ping()
            return self.answer({"host": socket.gethostname()})
        with database().cursor() as cursor:
            cursor.execute("SELECT what, worker FROM orders ORDER BY id")
            rows = [{"what": what, "worker": worker} for what, worker in cursor.fetchall()]
        self.answer(rows)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        queue().rpush(WAITING, self.rfile.read(length).decode())
        self.answer({"waiting": True}, 202)

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
