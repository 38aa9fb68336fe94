"""A name server, so that no test asks the machine's."""
import socket
import struct
import threading


class NameServer:
    """Answers A questions for one name on loopback; all else does not exist."""

    def __init__(self, name):
        self.name = b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\0"
        self.addresses = []
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.socket.getsockname()[1]

    def answer(self, query):
        end = query.index(b"\0", 12) + 1
        question, kind = query[12:end + 4], query[end:end + 2]
        known = query[12:end].lower() == self.name
        records = b""
        if known and kind == b"\0\1":
            self.asked += 1
            records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address)
                               for address in self.addresses)
        flags = 0x8180 if known else 0x8183
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(records) // 16, 0, 0) + question + records

    def run(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(2048)
                self.socket.sendto(self.answer(query), peer)
            except OSError:
                return

    def close(self):
        self.socket.close()
