"""Visitors of a shop and clients of its API."""

from __future__ import annotations

from locust import constant_throughput, task

from loadtests.journeys.base import Visitor

PRODUCTS = 500


class Browser(Visitor):
    """Looks around: the front page, a few products, a search now and then."""

    def on_start(self) -> None:
        self.headers["Cookie"] = f"cart={self.name}"

    @task
    def look_around(self) -> None:
        self.get("/", "front page")
        for _ in range(self.random.randint(1, 4)):
            self.think(0.2, 0.6)
            if self.random.random() < 0.2:
                self.get(f"/search?q=word{self.random.randint(1, 50)}", "search")
            # some products are looked at far more often than others
            product = int(self.random.paretovariate(1.1)) % PRODUCTS
            self.get(f"/product/{product}", "product")
        self.think(0.3, 0.9)


class ApiClient(Visitor):
    """A program: about five small requests a second, evenly."""

    wait_time = constant_throughput(5)

    @task(4)
    def read(self) -> None:
        self.get(f"/search?item={self.random.randint(1, PRODUCTS)}", "api read")

    @task(1)
    def write(self) -> None:
        size = self.random.randint(100, 2000)
        with self.client.post("/upload", data=b"x" * size, name="api write", catch_response=True) as answer:
            if answer.status_code == 200 and answer.text != str(size):
                answer.failure(f"{answer.text} of {size} bytes arrived")


class Shopper(Visitor):
    """Fills a basket that lives in one server's memory, looks at it, and leaves. A basket that is gone is marked.

    `X-Cart-Items` tells the server how many things the visitor has put in: it answers 409 when it knows otherwise.
    """

    cart = given = ""  # the basket's name; the balancer's own cookie

    def visit(self, path: str, label: str, items: int) -> bool:
        headers = {"Cookie": f"cart={self.cart}{self.given}", "X-Cart-Items": str(items)}
        with self.client.get(path, name=label, headers=headers, catch_response=True) as answer:
            if given := answer.headers.get("Set-Cookie"):  # the balancer's: the servers give none
                self.given = "; " + given.partition(";")[0]
            if answer.status_code == 409:
                answer.success()  # the balancer carried it well, to the wrong server: that is counted by itself
                self.mark("basket lost")
                return False
            if answer.status_code == 200:
                self.mark("basket kept")
                return True
        return False

    @task
    def shop(self) -> None:
        self.cart = f"{self.name}-{self.random.getrandbits(32):x}"
        self.given = ""
        for items in range(self.random.randint(3, 8)):
            if not self.visit("/cart/add", "add to basket", items):
                return
            self.think(0.1, 0.5)
        self.visit("/cart", "look at basket", items + 1)
        self.think(0.2, 0.8)


class Reader(Visitor):
    """Asks for things that servers keep in caches of their own: a few hundred keys, popular ones more often."""

    keys = 300

    @task
    def read(self) -> None:
        key = min(int(self.random.paretovariate(0.8)), self.keys) * 7919 % self.keys
        with self.client.get(f"/cache/{key}", name="cached page", catch_response=True) as answer:
            if answer.status_code == 200:
                self.mark(f"cache {answer.headers.get('X-Cache', '?')}")
        self.think(0.05, 0.2)


class GoodClient(Visitor):
    """Stays within its allowance and says who it is; being refused is a failure."""

    wait_time = constant_throughput(4)

    def on_start(self) -> None:
        self.headers["X-Client"] = f"good-{self.name}"

    @task
    def ask(self) -> None:
        with self.get("/search?q=a", "good client", catch_response=True) as answer:
            self.mark("good refused" if answer.status_code == 429 else "good served")


class Abuser(Visitor):
    """Hammers as fast as it is answered; to be refused with 429 is what should happen to it."""

    wait_time = constant_throughput(60)

    def on_start(self) -> None:
        self.headers["X-Client"] = f"abuser-{self.name}"

    @task
    def hammer(self) -> None:
        with self.get("/search?q=b", "abuser", catch_response=True) as answer:
            self.mark("abuser refused" if answer.status_code == 429 else "abuser served")
            if answer.status_code == 429:
                answer.success()


class Hurried(Visitor):
    """Asks again as soon as it has an answer; refused or late, it comes back just the same."""

    wait_time = constant_throughput(8)
    network_timeout = 6.0

    @task
    def ask(self) -> None:
        self.get("/search?q=now", "hurried")


class Relentless(Visitor):
    """No think time at all: measures where the generator itself, or what it asks, is at its limit."""

    @task
    def ask(self) -> None:
        self.get("/", "no pause")
