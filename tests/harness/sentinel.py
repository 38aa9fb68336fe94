"""A master, its replica and the sentinels that watch them."""
import os
import subprocess

from harness.ports import Port
from harness.process import DEADLINE, Process, wait_for
from harness.redis import SYNC_AT_ONCE, RedisServer

NAME = "mymaster"
# A master that was replaced and does not know it yet takes no writes, for its replica has left it.
MIN_REPLICAS = ["--min-replicas-to-write", "1", *SYNC_AT_ONCE]
CONF = """port {port}
bind 127.0.0.1
dir {dir}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 1500
sentinel failover-timeout {name} 3000
"""


class Sentinel:
    def __init__(self, folder, number, master):
        self.dir = os.path.join(folder, f"sentinel{number}")
        os.makedirs(self.dir)
        self.port, self.master = Port(), master
        self.debug = []  # words for SENTINEL DEBUG, which it forgets when it ends
        self.process = Process(f"sentinel{number}", os.path.join(folder, f"sentinel{number}.log"))

    def launch(self):
        conf = os.path.join(self.dir, "sentinel.conf")
        if not os.path.exists(conf):  # it keeps in the file what it has seen
            with open(conf, "w", encoding="ascii") as file:
                file.write(CONF.format(port=self.port.number, dir=self.dir, name=NAME,
                                       master=self.master.announced[0]))
        self.process.start([os.environ.get("REDIS_SERVER", "redis-server"), conf, "--sentinel"])
        if self.debug:
            wait_for(lambda: self.ask("SENTINEL", "DEBUG", *self.debug) == ["OK"], "it listens")

    def ask(self, *words, timeout_s=DEADLINE):
        """The lines of the answer; none when it does not answer."""
        try:
            done = subprocess.run(["redis-cli", "-p", str(self.port.number), *words], check=False,
                                  capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return []
        return done.stdout.split("\n")[:-1] if done.returncode == 0 else []

    def end(self):
        wrong = self.process.end()
        self.port.release()
        return wrong


class SentinelGroup:
    """servers[0] begins as the master."""

    def __init__(self, folder, fsync="everysec"):
        self.servers = []
        for name in ("a", "b"):
            self.servers.append(RedisServer(os.path.join(folder, name), fsync, extra=MIN_REPLICAS))
        self.sentinels = [Sentinel(folder, i, self.servers[0]) for i in range(3)]

    @property
    def address(self):
        return "sentinel://" + ",".join(s.port.address for s in self.sentinels) + "/" + NAME

    def start(self):
        master, replica = self.servers
        master.start()
        replica.start()
        replica.ask("REPLICAOF", "127.0.0.1", master.announced[0])
        replica.ask("CONFIG", "REWRITE")
        wait_for(lambda: self.is_replica(replica), "the replica follows")
        for sentinel in self.sentinels:
            sentinel.launch()
        wait_for(self.is_complete, "the sentinels know each other and the replica")

    def is_complete(self):
        for sentinel in self.sentinels:
            words = sentinel.ask("SENTINEL", "MASTER", NAME)
            state = dict(zip(words[::2], words[1::2]))
            if (state.get("num-slaves"), state.get("num-other-sentinels")) != ("1", "2"):
                return False
        return True

    @property
    def processes(self):
        return [part.process for part in self.sentinels + self.servers]

    @staticmethod
    def role(server):
        """Over a new connection: sentinels close all of them when they change a role."""
        if not server.process.is_up() or not server.connect():
            return ["away"]
        try:
            return server.ask("ROLE")
        except OSError:  # just now
            return ["away"]

    def is_replica(self, server):
        role = self.role(server)
        return role[0] == "slave" and role[3] == "connected"

    @property
    def master(self):
        """Who says that it is one and is up; None while nobody is."""
        for server in self.servers:
            if self.role(server)[0] == "master":
                return server
        return None

    def await_switch(self, server):
        wait_for(lambda: self.role(server)[0] == "master", "the replica is promoted")
        wait_for(lambda: all(s.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
                             == ["127.0.0.1", str(server.announced[0])] for s in self.sentinels),
                 "all sentinels agree")

    def kill_master(self):
        """When its replica is in step; returns the dead one, when the other has taken its place."""
        dead = self.master
        dead.bring_in_step()
        dead.kill()
        self.await_switch(next(s for s in self.servers if s is not dead))
        return dead

    def revive(self, server):
        """The dead one comes back; the sentinels make it a replica."""
        server.start()
        wait_for(lambda: self.is_replica(server), "the old master follows the new one")
        wait_for(self.is_complete, "the sentinels see it")

    def tails(self):
        return "\n".join(process.tail() for process in self.processes)

    def end(self):
        wrong = [text for part in self.sentinels + self.servers if (text := part.end())]
        return "; ".join(wrong) or None
