"""The wire protocol by hand: docs/protocol.md is all that was read to write this."""
import socket
import threading

from harness.process import DEADLINE

SUCCESS, FAILURE, ONGOING, ERROR, CONFLICT = "SUCCESS", "FAILURE", "ONGOING", "ERROR", "CONFLICT"
WAIT_MS = 20000
RESULTS = {0: ERROR, 1: SUCCESS, 2: FAILURE, 3: ONGOING, 4: ERROR, 5: CONFLICT}
STATUSES = {1: "prepared", 2: "submitted", 3: "aborting", 4: "succeed", 5: "failed"}
STATUS_NUMBERS = {name: number for number, name in STATUSES.items()}
CODES = {1: "INVALID", 2: "VERSION", 3: "DENIED", 4: "LIMIT", 5: "BUSY", 6: "UNAVAILABLE",
         7: "CONFLICT", 8: "NOT_FOUND", 9: "INTERNAL"}
HELLO, FAULT, NEW_GID, SUBMIT, QUERY, CALL = 2, 3, 10, 11, 12, 30
PREPARE, REGISTER, ABORT, WORKFLOW, FINISH = 13, 14, 15, 16, 17


# ---- protobuf ----

def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(*fields):
    """Pairs (number, value): an int or bool is a varint, text and bytes are length-delimited, a
    list repeats its field. None and zero values are left out, as proto3 does."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, list):
            for item in value:
                data = item.encode() if isinstance(item, str) else item
                out += varint(number << 3 | 2) + varint(len(data)) + data
        elif not value:
            continue
        elif isinstance(value, int):
            out += varint(number << 3) + varint(int(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


class Message:
    """A decoded message: fields by number."""

    def __init__(self, data):
        self.fields = {}
        at = 0
        while at < len(data):
            tag, at = read_varint(data, at)
            if tag & 7 == 0:
                value, at = read_varint(data, at)
            elif tag & 7 == 2:
                size, at = read_varint(data, at)
                value, at = data[at:at + size], at + size
            else:
                raise ValueError(f"wire type {tag & 7}")
            self.fields.setdefault(tag >> 3, []).append(value)

    def int(self, number):
        value = self.fields.get(number, [0])[-1]
        return value - (1 << 64) if value >> 63 else value

    def bytes(self, number):
        return self.fields.get(number, [b""])[-1]

    def text(self, number):
        return self.bytes(number).decode()

    def all(self, number):
        return [Message(item) for item in self.fields.get(number, [])]


# ---- requests and answers ----

class WireError(Exception):
    """An error frame."""

    def __init__(self, message):
        self.code = CODES.get(message.int(1), "INTERNAL")
        self.text, self.field = message.text(2), message.text(3)
        self.retry_after_ms = message.int(4)
        super().__init__(f"{self.code} {self.field}: {self.text}")


class CallReply:
    def __init__(self, message):
        self.result = RESULTS.get(message.int(1), ERROR)
        self.payload = message.bytes(2)
        self.message = message.text(3)

    def __repr__(self):
        return f"{self.result} {self.payload.hex()} {self.message}"


class SubmitReply:
    def __init__(self, message):
        self.gid = message.text(1)
        self.status = STATUSES[message.int(2)]
        self.rollback_reason = message.text(3)


class QueryReply:
    def __init__(self, message):
        self.found = bool(message.int(1))
        self.gid = message.text(2)
        self.status = STATUSES.get(message.int(4))
        self.rollback_reason = message.text(5)
        self.branches = [(b.text(1), b.text(2), STATUSES[b.int(4)]) for b in message.all(8)]
        self.results = {(b.text(1), b.text(2)): b.bytes(5) for b in message.all(8)}
        self.history = [(h.text(2), h.text(3)) for h in message.all(9)]
        self.result = message.bytes(10)


REPLIES = {20: lambda m: m.text(1), 21: SubmitReply, 22: QueryReply, 31: CallReply}


def call_body(method, payload=b"", gid="", branch_id="01", op="action", trans_type="saga",
              timeout_ms=0, started_ms=0, traceparent=""):
    """Without a gid: a plain request."""
    if not gid:
        branch_id = op = trans_type = ""
    return encode((1, gid), (2, branch_id), (3, op), (4, trans_type), (5, method), (6, payload),
                  (7, timeout_ms), (8, started_ms), (10, traceparent))


def submit_body(gid, steps, wait=False, wait_timeout_ms=None, timeout_to_fail_ms=0,
                retry_interval_ms=0, request_timeout_ms=0, retry_limit=0, trans_type="saga"):
    """steps: (action, compensate, payload). Who waits without saying how long waits for the end."""
    if wait_timeout_ms is None:
        wait_timeout_ms = WAIT_MS if wait else 0
    options = encode((1, timeout_to_fail_ms), (2, retry_interval_ms), (3, request_timeout_ms),
                     (4, retry_limit))
    steps = [encode((1, action), (2, compensate), (3, payload))
             for action, compensate, payload in steps]
    return encode((1, gid), (2, trans_type), (3, steps), (4, options), (5, wait),
                  (6, wait_timeout_ms))


class WireClient:
    """One connection; for one thread. Requests can be sent ahead and their answers taken later."""

    def __init__(self, address, token="", version=1, timeout_s=DEADLINE):
        if isinstance(address, str):
            host, _, port = address.rpartition(":")
            address = (host, int(port))
        connection = socket.create_connection(address, timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._own(connection)
        self.send_frame(encode((HELLO, encode((1, version), (2, "tests/1"), (3, token)))))

    @classmethod
    def of(cls, connection):
        """On a connection that is there, accepted from sagad say; nothing is sent."""
        peer = cls.__new__(cls)
        peer._own(connection)
        return peer

    def _own(self, connection):
        self.socket, self.file = connection, connection.makefile("rb")
        self.last_id = 0
        self.answers = {}
        self.hello = None

    def send_frame(self, body):
        self.socket.sendall(varint(len(body)) + body)

    def read_frame(self):
        size = shift = 0
        while True:
            byte = self.file.read(1)
            if not byte:
                raise ConnectionError("the peer closed the connection")
            size |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        data = self.file.read(size)
        if len(data) < size:
            raise ConnectionError("the peer closed the connection")
        return Message(data)

    def send(self, kind, body):
        self.last_id += 1
        # the body is there even when it is empty
        self.send_frame(encode((1, self.last_id)) + varint(kind << 3 | 2) + varint(len(body))
                        + body)
        return self.last_id

    def receive(self, request_id):
        """The answer to that request; those of others are kept."""
        while request_id not in self.answers:
            frame = self.read_frame()
            if HELLO in frame.fields:
                self.hello = frame.all(HELLO)[0]
            elif FAULT in frame.fields and frame.int(1) == 0:
                raise WireError(frame.all(FAULT)[0])
            else:
                self.answers[frame.int(1)] = frame
        frame = self.answers.pop(request_id)
        if FAULT in frame.fields:
            raise WireError(frame.all(FAULT)[0])
        kind = next(number for number in frame.fields if number in REPLIES)
        return REPLIES[kind](frame.all(kind)[0])

    def call(self, method, payload=b"", **branch):
        return self.receive(self.send(CALL, call_body(method, payload, **branch)))

    def new_gid(self):
        return self.receive(self.send(NEW_GID, b""))

    def submit(self, gid, steps, **options):
        return self.receive(self.send(SUBMIT, submit_body(gid, steps, **options)))

    def ask(self, kind, gid, trans_type, steps=(), wait_timeout_ms=0, timeout_to_fail_ms=0,
            query_prepared="", concurrent=False, delay_ms=0):
        """SUBMIT or PREPARE of any type. Steps are dicts by the names of the protocol; `after` is a
        list."""
        steps = [encode((1, s.get("action")), (2, s.get("compensate")), (3, s.get("payload")),
                        (4, s.get("try_url")), (5, s.get("confirm")), (6, s.get("cancel")),
                        (7, b"".join(varint(i) for i in s.get("after", ())))) for s in steps]
        return self.receive(self.send(kind, encode(
            (1, gid), (2, trans_type), (3, steps), (4, encode((1, timeout_to_fail_ms))),
            (5, wait_timeout_ms > 0), (6, wait_timeout_ms), (7, query_prepared), (9, concurrent),
            (10, delay_ms))))

    def register(self, gid, trans_type, branch_id, confirm, cancel, payload=b""):
        return self.receive(self.send(REGISTER, encode((1, gid), (2, trans_type), (3, branch_id),
                                                       (4, confirm), (5, cancel), (6, payload))))

    def workflow(self, gid, name, data=b"", resume="", retry_interval_ms=0):
        return self.receive(self.send(WORKFLOW, encode(
            (1, gid), (2, name), (3, data), (4, resume), (5, encode((2, retry_interval_ms))))))

    def report(self, gid, branch_id, data=b"", op="action", status="succeed"):
        return self.receive(self.send(REGISTER, encode(
            (1, gid), (2, "workflow"), (3, branch_id), (6, data), (7, op),
            (8, STATUS_NUMBERS.get(status, 0)))))

    def finish(self, gid, status="succeed", reason="", result=b""):
        return self.receive(self.send(FINISH, encode(
            (1, gid), (2, STATUS_NUMBERS.get(status, 0)), (3, reason), (4, result))))

    def abort(self, gid, reason=""):
        return self.receive(self.send(ABORT, encode((1, gid), (2, reason))))

    def query(self, gid):
        return self.receive(self.send(QUERY, encode((1, gid))))

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- participant ----

class Call:
    """A call as it came."""

    def __init__(self, message):
        self.gid, self.branch_id, self.op = message.text(1), message.text(2), message.text(3)
        self.trans_type, self.method = message.text(4), message.text(5)
        self.payload = message.bytes(6)
        self.timeout_ms, self.started_ms = message.int(7), message.int(8)
        self.headers = {h.text(1): h.text(2) for h in message.all(9)}
        self.traceparent = message.text(10)


class WireParticipant:
    """Serves branches over the wire protocol: records the calls, answers `result` (of a method, or
    SUCCESS), and an answer of bytes as it is. A rule that is a function is asked for one."""

    def __init__(self):
        self.calls = []
        self.rules = {}  # method → number of the result, bytes, or a function of the call
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.url = f"tcp://{self.address}"
        self.connections = []
        self.lock = threading.Lock()  # of all that is sent
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        peer = WireClient.of(connection)
        try:
            peer.send_frame(encode((HELLO, encode((1, 1), (2, "participant/1")))))
            while True:
                frame = peer.read_frame()
                for message in frame.all(CALL):
                    call = Call(message)
                    self.calls.append(call)
                    rule = self.rules.get(call.method, 1)
                    if callable(rule):  # others need not wait for it
                        threading.Thread(target=self._ask, args=(peer, frame.int(1), rule, call),
                                         daemon=True).start()
                    else:
                        self._answer(peer, frame.int(1), rule)
        except (OSError, ValueError):
            pass
        finally:
            peer.close()

    def _ask(self, peer, request_id, rule, call):
        result = rule(call)
        try:
            self._answer(peer, request_id, result)
        except (OSError, ValueError):
            pass  # whoever asked is gone

    def _answer(self, peer, request_id, result):
        with self.lock:
            if isinstance(result, bytes):
                peer.socket.sendall(result)
            else:
                peer.send_frame(encode((1, request_id), (31, encode((1, result)))))

    def close(self):
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
