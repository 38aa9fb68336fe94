"""HTTP: requests, the mall's tokens, and a participant that a test scripts."""
import base64
import collections
import hashlib
import hmac
import http.client
import http.server
import json
import threading
import time
import urllib.parse

from harness.process import DEADLINE

Reply = collections.namedtuple("Reply", "status body headers text")
Call = collections.namedtuple("Call", "method path query body headers at")


def ask(port, method, path, body=None, headers=None, timeout_s=60):
    """One request; `body` of the reply is parsed JSON, or None when it is something else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return Reply(response.status, json.loads(text) if is_json and text else None,
                     response.headers, text)
    finally:
        connection.close()


def ask_json(port, path, document, token=None, headers=None, timeout_s=60):
    headers = dict(headers or {})
    headers.setdefault("Content-Type", "application/json")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return ask(port, "POST", path, json.dumps(document).encode(), headers, timeout_s)


# ---- tokens ----

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(secret, uid, life_s=3600, algorithm="HS256", **claims):
    now = int(time.time())
    header = base64url(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    claims = {"uid": uid, "iat": now, "exp": now + life_s, **claims}
    text = header + b"." + base64url(json.dumps(claims).encode())
    digests = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
    signature = b""
    if algorithm in digests:
        signature = base64url(hmac.new(secret.encode(), text, digests[algorithm]).digest())
    return (text + b"." + signature).decode()


# ---- participant ----

class Answer:
    """What a path answers. drop: the connection ends without an answer; gate: an Event that is
    waited for first; run: called first, with the Call; headers: besides the usual ones."""

    def __init__(self, status=200, body=b'{"dtm_result":"SUCCESS"}', drop=False, gate=None,
                 run=None, headers=None):
        self.status, self.drop, self.gate, self.run = status, drop, gate, run
        self.headers = headers or {}
        self.body = body.encode() if isinstance(body, str) else body


class Participant:
    """Serves branches over HTTP, records the calls, answers by rule. A rule is an Answer for every
    call, or a list: one for each call in turn, the last one for all that follow."""

    def __init__(self, port=0):
        self.calls = []
        self.rules = {}
        self.lock = threading.Lock()
        participant = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def serve(self):
                participant.serve(self)

            do_GET = do_POST = serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass  # sagad was killed, or a test dropped the connection

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def serve(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        call = Call(handler.command, url.path, query, body, handler.headers, time.monotonic())
        with self.lock:
            self.calls.append(call)
            rule = self.rules.get(url.path, Answer())
            if isinstance(rule, list):
                rule = rule.pop(0) if len(rule) > 1 else rule[0]
        if rule.run:
            rule.run(call)
        if rule.gate:
            rule.gate.wait(DEADLINE)
        if rule.drop:
            handler.close_connection = True
            return
        handler.send_response(rule.status)
        for header in rule.headers.items():
            handler.send_header(*header)
        if rule.status != 204:
            handler.send_header("Content-Length", str(len(rule.body)))
        handler.end_headers()
        if rule.status != 204:
            handler.wfile.write(rule.body)

    def paths(self):
        return [call.path for call in list(self.calls)]

    def count(self, path):
        return self.paths().count(path)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
