"""Topologies with several servers of Redis, of which one at a time may die and lose what it alone has.

Clients learn from sentinels, or from the map of the cluster, where the servers are; so each server
announces a link of its own, any>redisN, through which everybody comes: programs, replicas, sentinels.
Coordinators and services wait for a replica (wait_replicas)."""
import threading

from harness.redis import RedisError
from harness.rediscluster import RedisCluster, key_slot
from harness.sentinel import NAME, SentinelGroup
from topology import SAGAD, SERVICE, Single, World

WAIT = {"wait_replicas": 1, "wait_timeout": "300ms"}
SHARDS = 4  # of the services' records, so that they are on several masters
MOVED_KEYS = 50  # by one MIGRATE
# In ms. With the defaults, 10 s and 2 s, sentinels wait for ten seconds before they make an old master
# a replica of the new one.
HASTE = ("info-period", "1000", "publish-period", "500")


class Replicated(World):
    """What sentinels and clusters have in common. nodes: the servers."""

    without = frozenset(("disk_full", "migrate"))

    def __init__(self, directory, fsync, coordinators, redis, service):
        settings = {"sagad": {**SAGAD, **WAIT}, "all": {**SERVICE, **WAIT, **service}}
        super().__init__(directory, coordinators, settings, fsync=fsync, redis=redis)
        self.redis = self.stack.redis
        self.stores = {f"redis{n}": node for n, node in enumerate(self.nodes, 1)}
        fronts = [self._announce(name, node) for name, node in self.stores.items()]
        self.one_at_a_time = [*self.stores, *(link for links in fronts for link in links)]

    @property
    def nodes(self):
        raise NotImplementedError

    def _announce(self, name, node):
        """The links in front of it."""
        number = lambda address: int(address.rpartition(":")[2])
        links = [f"any>{name}"]
        front = number(self.network.link(links[0], node.port.address))
        if node.bus:
            links.append(f"bus>{name}")
            node.announce(front, number(self.network.link(links[1], node.bus.address)))
        else:
            node.announce(front)
        return links

    def _name_of(self, node):
        return next(name for name, store in self.stores.items() if store is node)

    def may_fall(self, name):
        """A replica. A master that comes back before it is replaced has what it had written; with
        everysec it puts writing off while a fsync lasts, and what it has answered meanwhile is lost,
        for its replica then takes over what it has. So a master stays away until it is replaced."""
        raise NotImplementedError

    def is_saved(self):
        """All that a replica has got is in its file, too: after a full synchronization that takes a
        while. Until then a kill -9 takes it back to where it was before."""
        return all("aof_rewrite_in_progress:0" in info and "aof_rewrite_scheduled:0" in info
                   and "loading:0" in info
                   for info in (node.ask("INFO", "persistence") for node in self.nodes))


class Sentinel(Replicated):
    """A master, a replica and three sentinels. These may be killed, but not frozen: who finds that his
    clock has jumped does nothing for 30 s (TILT)."""

    def __init__(self, directory, coordinators):
        super().__init__(directory, "everysec", coordinators,
                         lambda folder, fsync, **_: SentinelGroup(folder, fsync), {})
        self.watchers = {f"sentinel{n}": part for n, part in enumerate(self.redis.sentinels, 1)}
        for part in self.redis.sentinels:
            part.debug = HASTE
        self._wire()

    @property
    def nodes(self):
        return self.stack.redis.servers

    def _redis_for(self, name):
        addresses = [self.network.link(f"{name}>{watcher}", part.port.address)
                     for watcher, part in self.watchers.items()]
        return f"sentinel://{','.join(addresses)}/{NAME}"

    def masters(self):
        return [self.redis.master.new_client()]

    def is_whole(self):
        """One master, whose replica has followed it."""
        try:
            roles = [self.redis.role(node) for node in self.nodes]
            master, replica = sorted(roles, key=lambda role: role[0])
            return master[0] == "master" and replica[0] == "slave" and replica[3] == "connected" \
                and self.is_saved()
        except (OSError, RedisError):
            return False

    def master_of(self, _):
        return self._name_of(self.redis.master)

    def may_fall(self, _):
        return self._name_of(next(node for node in self.nodes if node is not self.redis.master))

    def fail_over(self, _):
        """As an operator orders it."""
        for watcher in self.watchers.values():
            if watcher.ask("SENTINEL", "FAILOVER", NAME, timeout_s=1) == ["OK"]:
                return

    def promotions(self):
        return max(part.process.log(whole=True).count("+switch-master")
                   for part in self.watchers.values())


class Cluster(Replicated):
    """Three masters with a replica each."""

    without = frozenset(("disk_full", "watcher_kill"))

    def __init__(self, directory, coordinators):
        super().__init__(directory, "everysec", coordinators, RedisCluster, {"shards": SHARDS})
        self.moving, self.moved, self.trouble = None, 0, []
        self._wire()

    @property
    def nodes(self):
        return self.stack.redis.nodes

    def _redis_for(self, _):
        return self.redis.address

    def masters(self):
        return [node.new_client() for node in self.redis.masters()]

    def is_whole(self):
        if self.moving and self.moving.is_alive():
            return False
        try:
            return self.redis.is_whole() and self.is_saved()
        except (OSError, RedisError):
            return False

    def master_of(self, name):
        """The store itself, or whom it follows."""
        node = self.stores[name]
        if node.ask("ROLE")[0] != "master":
            node = next(n for n in self.redis.masters() if self.redis.replica_of(n) is node)
        return self._name_of(node)

    def may_fall(self, name):
        return self._name_of(self.redis.replica_of(self.stores[self.master_of(name)]))

    def fail_over(self, name):
        """As an operator orders it."""
        self.redis.replica_of(self.stores[self.master_of(name)]).ask("CLUSTER", "FAILOVER")

    def promotions(self):
        return sum(node.process.log(whole=True).count("configEpoch set to") for node in self.nodes)

    def migrate(self, key):
        """In the background: it takes as long as there are keys. Nothing else hits Redis meanwhile."""
        self.moving = threading.Thread(target=self._migrate, args=(key_slot(key),), daemon=True)
        self.moving.start()

    def _migrate(self, slot):
        try:
            self.redis.move_slot(slot, MOVED_KEYS)
            self.moved += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.trouble.append(f"moving slot {slot}: {type(error).__name__}: {error}")

    def end(self):
        if self.moving:
            self.moving.join()
        return self.trouble + super().end()


MODES = {
    "single-everysec": lambda directory, coordinators, has_mounts:
        Single(directory, "everysec", coordinators, has_mounts),
    "single-always": lambda directory, coordinators, has_mounts:
        Single(directory, "always", coordinators, has_mounts),
    "sentinel": lambda directory, coordinators, _: Sentinel(directory, coordinators),
    "cluster": lambda directory, coordinators, _: Cluster(directory, coordinators),
}
