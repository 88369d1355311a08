"""Takes orders out of the queue, one after the other, and writes them down."""

import pathlib
import socket

from shop import WAITING, database, queue

orders, waiting = database(), queue()
pathlib.Path("/tmp/ready").touch()
print("ready", flush=True)
while True:
    _, what = waiting.blpop(WAITING)
    with orders.cursor() as cursor:
        row = (what, socket.gethostname())
        cursor.execute("INSERT INTO orders (what, worker) VALUES (%s, %s)", row)
    print("wrote down", what, flush=True)
