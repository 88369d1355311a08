"""Where orders wait, and where they are written down."""

import os
import signal
import sys

import psycopg2
import redis

# As the first process of a container, it hears of the end only if it wants to.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

WAITING = "orders"


def queue():
    return redis.Redis(host=os.environ["QUEUE"], decode_responses=True)


def database():
    with open("/run/secrets/password") as secret:
        password = secret.read()
    connection = psycopg2.connect(
        host=os.environ["DATABASE"], user="shop", dbname="shop", password=password
    )
    connection.autocommit = True
    return connection
