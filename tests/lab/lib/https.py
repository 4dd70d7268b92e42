"""https.py FOLDER ADDRESS CERTIFICATE KEY: serves FOLDER at ADDRESS port 443, as the sites that the certificate is for."""

import functools
import http.server
import ssl
import sys

folder, address, certificate, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer((address, 443), handler)
# The handshake is each connection's own: one that says nothing must not keep the others waiting.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
