"""The services of the mall: their messages, barrier rows, and the books."""
import base64
import itertools

from harness.wire import Message, encode

CREATE, CREATE_REVERT = "order.Order/Create", "order.Order/CreateRevert"
DECR, DECR_REVERT = "product.Product/DecrStock", "product.Product/DecrStockRevert"
SAVE_USER, SAVE_USER_REVERT = "user.User/saveUser", "user.User/saveUserCallback"
SAVE_SCORE = "score.UserScore/saveUserScore"
SAVE_SCORE_REVERT = "score.UserScore/saveUserScoreCallback"
CHECK = "user.User/Check"
# Branches of the TCC that pays an order with points: (try, confirm, cancel).
TCC_OPS = ("try", "confirm", "cancel")
ORDER_TCC = tuple(f"order.Order/{op}Create" for op in ("Try", "Confirm", "Cancel"))
STOCK_TCC = tuple(f"product.Product/{op}DecrStock" for op in ("Try", "Confirm", "Cancel"))
SCORE_TCC = tuple(f"score.UserScore/{op}Deduct" for op in ("Try", "Confirm", "Cancel"))


# ---- messages ----

def order_message(order_id, uid, pid, num=1, amount=5):
    return encode((1, uid), (2, pid), (3, amount), (5, order_id), (6, num))


def decr_message(pid, num=1):
    return encode((1, pid), (2, num))


def user_message(user_id, name="n", gender="1", mobile="", pass_hash=""):
    return encode((1, str(user_id)), (2, name), (3, gender), (4, mobile), (5, pass_hash))


def score_message(uid, score=10):
    return encode((1, uid), (2, score))


def id_message(number):
    return encode((1, number))


def order_steps(order_id, uid, pid, num=1, amount=5):
    """What the order API submits."""
    return [(f"tcp://order/{CREATE}", f"tcp://order/{CREATE_REVERT}",
             order_message(order_id, uid, pid, num, amount)),
            (f"tcp://product/{DECR}", f"tcp://product/{DECR_REVERT}", decr_message(pid, num))]


def points_order(order_id, uid, pid, num=1, amount=5, points=None):
    """The declared TCC of an order that is paid with points, as fields of DTM's submit."""
    points = amount if points is None else points
    branches = [("order", ORDER_TCC, order_message(order_id, uid, pid, num, amount)),
                ("product", STOCK_TCC, decr_message(pid, num)),
                ("score", SCORE_TCC, score_message(uid, points))]
    return {"trans_type": "tcc",
            "steps": [{op: f"tcp://{service}/{method}" for op, method in zip(TCC_OPS, methods)}
                      for service, methods, _ in branches],
            "bin_payloads": [base64.b64encode(payload).decode() for _, _, payload in branches]}


def new_order_ids(order, uid, count=1):
    """A range of fresh ids; `order` is a WireClient."""
    reply = Message(order.call("order.Order/NewId", encode((1, uid), (2, count))).payload)
    first, step = reply.int(1), reply.int(2)
    return list(itertools.islice(itertools.count(first, step), count))


# ---- barrier ----

def rows_of(key, record):
    """The rows of DTM's barrier table that one barrier hash stands for."""
    _, _, rest = key.partition(":br:")
    gid, _, branch = rest.rpartition(":")
    rows = set()
    for field, value in record.items():
        op, _, barrier_id = field.partition(":")
        if barrier_id.isdigit():
            reason, _, trans_type, _ = value.split("|", 3)
            rows.add((trans_type, gid, branch, op, barrier_id, reason))
    return rows


def glob_escape(text):
    return "".join("\\" + c if c in "\\*?[]^-" else c for c in text)


def barrier_rows(redis, gid=None):
    """{(trans_type, gid, branch, op, barrier_id, reason)} of one transaction, or of all."""
    pattern = f"*:br:{glob_escape(gid)}:*" if gid else "*:br:*"
    return set().union(*(rows_of(*item) for item in redis.hashes(pattern).items()))


def rows(gid, *short, trans_type="saga"):
    """rows("g", ("01", "action", "action")): as barrier_rows would give them."""
    return {(trans_type, gid, branch, op, "01", reason) for branch, op, reason in short}


def rows_confirmed(gid):
    return rows(gid, *((branch, op, op) for branch in ("01", "02", "03")
                       for op in ("try", "confirm")), trans_type="tcc")


def rows_cancelled(gid, *refused):
    """All were cancelled; the tries of the `refused` branches had written nothing."""
    return rows(gid, *((branch, op, "cancel" if branch in refused else op)
                       for branch in ("01", "02", "03") for op in ("try", "cancel")),
                trans_type="tcc")


def rows_done(gid):
    return rows(gid, ("01", "action", "action"), ("02", "action", "action"))


def rows_undone(gid):
    return rows(gid, ("01", "compensate", "compensate"), ("02", "compensate", "compensate"))


def rows_refused(gid):
    """The second action wrote nothing, and its compensation was empty."""
    return rows(gid, ("01", "action", "action"), ("02", "action", "compensate")) | rows_undone(gid)


def rows_failed_afterwards(gid):
    """The second action had committed."""
    return rows_done(gid) | rows_undone(gid)


# ---- books ----

class Books:
    """Initial stock = stock + frozen + pieces of all orders that are neither void nor pending, for
    every product given. Between the calls of a transaction it need not hold."""

    def __init__(self, redis, stock_of):
        self.redis = redis
        self.stock_of = stock_of  # pid → initial stock

    def orders(self):
        return list(self.redis.hashes("{ord:*}:o:*").values())

    def imbalances(self):
        sold = {pid: 0 for pid in self.stock_of}
        for order in self.orders():
            if order["status"] not in ("2", "9") and int(order["pid"]) in sold:
                sold[int(order["pid"])] += int(order["num"])
        found = []
        for pid, initial in self.stock_of.items():
            record = self.redis.hash(f"{{prd:{pid}}}:h")
            stock, frozen = int(record["stock"]), int(record.get("frozen", 0))
            if stock + frozen + sold[pid] != initial:
                found.append(f"product {pid}: {stock} in stock + {frozen} frozen + {sold[pid]} "
                             f"ordered ≠ {initial}")
        return found


def score_imbalances(redis):
    """Total + frozen = Σ ledger, for every account."""
    found = []
    for key, account in redis.hashes("{scr:*}:a:*").items():
        ledger = redis.hash(key.replace("}:a:", "}:l:"))
        total = sum(int(entry.partition("|")[0]) for entry in ledger.values())
        held = int(account["total"]) + int(account.get("frozen", 0))
        if (held, int(account["count"])) != (total, len(ledger)):
            found.append(f"{key}: {account} but the ledger has {ledger}")
    return found
