"""A distant host, where the kernel has no netem: a TCP proxy that holds everything back for some time, in both directions.

delay.py LISTEN-ADDRESS TARGET-ADDRESS TARGET-PORT MILLISECONDS-ONE-WAY      prints the port that it listens on
"""
import queue
import socket
import sys
import threading
import time


def receive(source, line, delay):
    try:
        while chunk := source.recv(1 << 18):
            line.put((time.monotonic() + delay, chunk))
    except OSError:
        pass
    line.put((time.monotonic() + delay, b""))


def send(target, line):
    try:
        while True:
            due, chunk = line.get()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            if not chunk:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(chunk)
    except OSError:
        pass


def connect(one, other, delay):
    line = queue.Queue(1 << 12)
    threading.Thread(target=receive, args=(one, line, delay), daemon=True).start()
    threading.Thread(target=send, args=(other, line), daemon=True).start()


listen, address, port, milliseconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
server = socket.create_server((listen, 0))
print(server.getsockname()[1], flush=True)
while True:
    near, _ = server.accept()
    far = socket.create_connection((address, port))
    for end in near, far:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connect(near, far, milliseconds / 1000)
    connect(far, near, milliseconds / 1000)
