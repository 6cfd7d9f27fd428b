"""The web page in a real browser: it shows what the API says, works by keyboard, in both colour schemes, on a phone, behind a key, and says when nothing answers."""
import hashlib
import os
import random
import signal
import unittest

from browser import CHROMIUM, DRIVER, Browser
from daemon import Daemon

PICTURES = os.environ.get("PICTURES", "")
KEY = "an-admin-key-for-the-page"
NEXT_KEY = "the-admin-key-after-that"
PLAIN_KEY = "a-key-of-one-namespace"


def fill(daemon, key=None):
    """Some hits and some misses in two namespaces' worth of operations."""
    headers = {"Authorization": "Bearer " + key} if key else {}
    generator = random.Random(7)
    for _ in range(400):
        number = int(generator.paretovariate(0.8)) % 120
        request = {"operation": ["qa", "summarize", "sentiment"][number % 3], "text": "question %d" % number}
        if not daemon.request("POST", "/cache/lookup", request, headers).json["hit"]:
            stored = {**request, "response": "An answer of some length. " * generator.randint(5, 400), "tokens": {"prompt": 20, "completion": 180}, "cost_usd": 0.002}
            assert daemon.request("PUT", "/cache/entries", stored, headers).status == 201


class Pictures:
    def picture(self, name):
        if PICTURES:
            os.makedirs(PICTURES, exist_ok=True)
            self.browser.picture(os.path.join(PICTURES, name + ".png"))


@unittest.skipUnless(CHROMIUM and DRIVER, "needs chromium and chromedriver")
class Page(Pictures, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        fill(cls.daemon)
        cls.browser = Browser()
        cls.url = "http://127.0.0.1:%d/" % cls.daemon.port
        cls.browser.open(cls.url)
        cls.browser.wait(lambda: cls.browser.text("overall") == "healthy")
        cls.browser.wait(lambda: len(cls.browser.run("return state.levels.seconds")) > 3)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.daemon.close()

    def test_1_shows_what_the_api_says(self):
        status = self.daemon.request("GET", "/cache/status").json
        browser = self.browser
        self.assertAlmostEqual(float(browser.text("hit-rate")[:-1]), status["hit_rate_numeric"], delta=0.051)
        self.assertEqual(browser.text("hits"), str(status["total_hits"]))
        self.assertEqual(browser.text("misses"), str(status["total_misses"]))
        rows = browser.run("return [...document.querySelectorAll('#tiers tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        self.assertEqual(rows[0][0:2], ["memory", str(status["memory"]["memory_cache_entries"])])
        self.assertEqual(rows[1][0:2], ["storage (lmdb)", str(status["storage"]["keys"])])
        health = self.daemon.request("GET", "/health").json
        shown = browser.run("return [...document.querySelectorAll('#health tbody tr')].map(r => [r.cells[0].textContent, r.cells[1].textContent])")
        for part, word in shown:
            self.assertEqual(health[part]["status"], word)
        memory = self.daemon.request("GET", "/monitoring/memory").json
        owners = browser.run("return [...document.querySelectorAll('#breakdown tbody tr')].map(r => r.cells[0].textContent)")
        self.assertGreater(len(owners), 10)
        self.assertLessEqual(set(owners), {part["owner"].replace("_", " ") for part in memory["breakdown"]})
        top = browser.run("return [...document.querySelectorAll('#top tbody tr')].map(r => r.cells[1].textContent)")
        self.assertEqual(sorted(top), ["qa", "sentiment", "summarize"])
        pressure = self.daemon.request("GET", "/monitoring/pressure").json
        self.assertEqual(browser.text("pressure-state"), pressure["current_state"])
        # A chart without points numbers no axes.
        ticks = browser.run("return Object.fromEntries(['memory', 'curve'].map(n => [n, state.charts[n].chart.options.scales.x.ticks.display]))")
        self.assertEqual(ticks, {"memory": True, "curve": False})
        self.picture("light")

    def test_2_follows_what_happens(self):
        before = int(self.browser.text("misses"))
        self.daemon.request("POST", "/cache/lookup", {"operation": "qa", "text": "never asked"})
        self.browser.wait(lambda: int(self.browser.text("misses")) == before + 1)

    def test_3_works_by_keyboard(self):
        browser = self.browser
        browser.press("p")
        self.assertEqual(browser.text("pause"), "Resume")
        held = browser.text("misses")
        self.daemon.request("POST", "/cache/lookup", {"operation": "qa", "text": "asked while paused"})
        seen = len(browser.run("return state.levels.seconds"))
        browser.wait(lambda: len(browser.run("return state.levels.seconds")) > seen + 1)
        self.assertEqual(browser.text("misses"), held)
        browser.click("#pause")
        browser.wait(lambda: browser.text("misses") != held)
        browser.press("2")
        self.assertEqual(browser.run("return document.getElementById('span').value"), "minutes")
        browser.press("1")
        self.assertEqual(browser.run("return document.getElementById('span').value"), "seconds")
        unreachable = browser.run("return [...document.querySelectorAll('button, select, input')].filter(n => n.tabIndex < 0).length")
        self.assertEqual(unreachable, 0)

    def test_4_in_the_dark_and_on_a_phone(self):
        browser = self.browser
        colours = "const d = state.charts.memory.chart; return [getComputedStyle(document.body).backgroundColor, d.data.datasets[0].borderColor, d.options.scales.x.ticks.color]"
        light = browser.run(colours)
        browser.run("window.mark = 'the same page'")
        browser.scheme("dark")
        browser.wait(lambda: all(a != b for a, b in zip(browser.run(colours), light)))
        self.picture("dark")
        for width in (390, 360):
            browser.resize(width, 844)
            browser.wait(lambda: browser.run("return document.documentElement.scrollWidth") <= width)  # the charts follow a frame later
            self.picture("phone-%d" % width)
        # On a desktop all is above the fold, and a wide screen is used.
        for width, height in ((1920, 1080), (2560, 1440)):
            browser.resize(width, height)
            fits = "const d = document.documentElement; return [d.scrollWidth <= arguments[0], d.scrollHeight <= arguments[1], document.getElementById('main').clientWidth > arguments[0] * 0.95]"
            browser.wait(lambda: browser.run(fits, width, height) == [True, True, True])
            self.picture("dark-%d" % width)
        browser.resize(1500, 1350)
        browser.scheme("light")
        browser.wait(lambda: browser.run(colours) == light)
        self.assertEqual(browser.run("return window.mark"), "the same page")  # nothing is loaded again, so nothing is lost

    def test_5_says_what_growth_is_known(self):
        says = lambda more: self.browser.run("return growthWords({at_limit: false, growth_bytes_per_hour: null, projected_seconds_to_limit: null, growth_span_seconds: 45, evictions_per_minute: 0, ...arguments[0]})", more)
        self.assertEqual(says({}), "growth not known yet")
        filling = says({"growth_bytes_per_hour": 538 << 20})
        self.assertEqual(filling, "grows 538 MiB/h over the last 45 s · when it is full is not known yet")
        self.assertEqual(says({"growth_bytes_per_hour": 538 << 20, "projected_seconds_to_limit": 120}), "grows 538 MiB/h over the last 45 s · full in 2.0 min")
        self.assertEqual(says({"growth_bytes_per_hour": -264 << 20}), "shrinking by 264 MiB/h over the last 45 s")
        self.assertEqual(says({"growth_bytes_per_hour": 0}), "steady over the last 45 s")
        self.assertEqual(says({"at_limit": True}), "full: the least useful leaves")
        self.assertEqual(says({"at_limit": True, "evictions_per_minute": 120}), "full: the least useful leaves · evicts 120 a minute")

    def test_5_says_since_when_figures_are(self):
        says = lambda after: self.browser.run("return sinceWords({time_ms: 1e12, uptime_seconds: 100, traffic: {since: new Date(1e12 - 100e3 + arguments[0]).toISOString()}})", after)
        self.assertEqual(says(500), "since the start")
        self.assertRegex(says(50000), r"^since \d+ \w+, \d\d:\d\d:\d\d$")
        self.assertEqual(self.browser.run("return [...document.querySelectorAll('.since')].map(n => n.textContent)"), ["since the start"] * 3)

    def drawn(self, name):
        """The finite points of a chart's first line, and whether the chart numbers its axes."""
        return self.browser.run("const c = state.charts[arguments[0]].chart; return [c.data.datasets[0].data.filter(p => Number.isFinite(p.y)), c.options.scales.x.ticks.display]", name)

    def test_6_day_and_month_move_on(self):
        browser = self.browser
        # One script, drawing included: an event of the stream in between would take time back.
        later = """const counts = () => Object.values(state.levels).map(samples => samples.length).slice(1), seen = [counts()];
                   for (const seconds of arguments) { show({...state.last, time_ms: state.last.time_ms + seconds * 1000}); seen.push(counts()); }
                   const drawn = span => { setSpan(span); return state.charts.memory.chart.data.datasets[0].data.filter(p => Number.isFinite(p.y)).length; };
                   return [...seen, [drawn("minutes"), drawn("hours")]]"""
        try:
            browser.wait(lambda: browser.run("return state.levels.seconds.length") > 3)
            # A month of a young daemon has not begun: nothing is drawn, least of all what was there before.
            for key in "23":
                browser.press(key)
            for name in ("memory", "resident", "hit", "rate"):
                self.assertEqual(self.drawn(name), [[], False], name)
            self.assertIn("nothing yet", browser.run("return document.getElementById('chart-memory').getAttribute('aria-label')"))
            # The stream carries the levels on: a minute later the day has one more, an hour later the month has.
            (minutes, hours), minute_later, hour_later, drawn = browser.run(later, 61, 3601)
            self.assertEqual((minute_later, hour_later), ([minutes + 1, hours], [minutes + 2, hours + 1]))
            self.assertEqual(drawn, hour_later)
        finally:
            browser.press("1")
        # A clock that was put back leaves nothing of the future.
        browser.wait(lambda: browser.run("return state.levels.hours.length") == hours)

    def labels(self, name):
        """What the x axis of a chart says: [value, words] of each tick."""
        return self.browser.run("return state.charts[arguments[0]].chart.scales.x.ticks.map(t => [t.value, t.label])", name)

    def draw(self, name, points, *more):
        """Feeds a chart with points of the test's own and holds it so: the stream goes on, the figures stand still."""
        self.browser.run("if (!state.paused) setPaused(true); const [n, p, r, m] = arguments; state.charts[n].set([p.map(([x, y]) => ({x, y}))], r, m)",
                         name, points, *more)

    def test_7_ticks_are_round_and_dated(self):
        browser = self.browser
        begin = browser.run("return new Date(2026, 2, 27, 21, 54, 6).getTime()")
        spans = {"seconds": (600, 60), "young": (90, 15), "day": (86400, 3600), "month": (30 * 86400, 43200)}
        try:
            for name, (seconds, step) in spans.items():
                dated = name in ("day", "month")
                self.draw("memory", [[begin, 1], [begin + seconds * 1000, 2]], None, dated)
                ticks = self.labels("memory")
                self.assertGreaterEqual(len(ticks), 2, (name, ticks))
                self.assertLessEqual(len(ticks), 16, name)
                local = browser.run("return arguments[0].map(t => { const d = new Date(t); return d.getHours() * 3600 + d.getMinutes() * 60 + d.getSeconds(); })",
                                    [value for value, _ in ticks])
                for second in local:
                    self.assertEqual(second % step, 0, (name, ticks))
                words = [" ".join(label) if isinstance(label, list) else label for _, label in ticks]
                if dated:
                    # The first tick and the first of each day say which day it is.
                    days = browser.run("return arguments[0].map(t => new Date(t).getDate())", [value for value, _ in ticks])
                    for i, day in enumerate(days):
                        if i == 0 or days[i - 1] != day:
                            self.assertRegex(words[i], r"\b%d (Mar|Apr)" % day, (name, words))
                else:
                    self.assertRegex(words[0], r"^2[12]:\d\d(:\d\d)?$")
            # Sizes: doublings are equally far apart and named with their bytes.
            self.draw("curve", [[-3, 10], [0, 50], [3, 90]], None, 16 << 20)
            words = dict(self.labels("curve"))
            for at, factor, size in ((-1, "½×", "8.0 MiB"), (0, "1×", "16.0 MiB"), (1, "2×", "32.0 MiB"), (2, "4×", "64.0 MiB")):
                self.assertEqual(words[at], [factor, size])
        finally:
            browser.run("setPaused(false)")

    def test_8_a_single_point_is_seen(self):
        ink = """const c = state.charts.hit.chart, x = c.scales.x.getPixelForValue(arguments[0]), y = c.scales.y.getPixelForValue(50), f = c.currentDevicePixelRatio;
                 return [...c.ctx.getImageData(Math.round(x * f), Math.round(y * f), 1, 1).data][3]"""
        try:
            alone = [[1000, 50], [1500, None], [2000, 50], [2500, None], [3000, 90], [4000, 90]]
            self.draw("hit", alone, [0, 5000])
            self.assertEqual([self.browser.run(ink, x) for x in (1000, 2000)], [255, 255])
        finally:
            self.browser.run("setPaused(false)")

    def test_9_big_figures_are_of_the_last_minute(self):
        browser = self.browser
        minute = "return lastMinute(arguments[0].map(([s, hits, misses]) => ({time_ms: s * 1000, hits, misses})))"
        # Two minutes ago all were misses, in the last one three of four hit; a start in between counts from nothing.
        self.assertEqual(browser.run(minute, [[0, 0, 0], [1, 0, 100], [100, 0, 100], [101, 3, 101]]), {"hits": 3, "lookups": 4, "seconds": 1})
        self.assertEqual(browser.run(minute, [[0, 900, 50], [1, 0, 0], [2, 1, 1]]), {"hits": 1, "lookups": 2, "seconds": 1})
        self.assertEqual(browser.run(minute, []), {"hits": 0, "lookups": 0, "seconds": 0})
        latency = "return lastMinuteLatency(arguments[0].map(([s, weight, p50, p99]) => ({time_ms: s * 1000, weight, p50, p99})), 100000)"
        self.assertEqual(browser.run(latency, [[10, 1000, 9, 9], [90, 1, 5, 8], [95, 10, 1, 2], [99, 1, 6, 7]]), {"p50": 1, "p99": 8})
        # They are on the page and labelled, and the chart of latencies outlives a reload.
        self.daemon.lookup(text="just now")
        browser.wait(lambda: browser.text("hit-now") != "–" and browser.text("p50-now") != "–", 60)
        browser.wait(lambda: "in the last minute" in browser.text("minute-lookups"))
        seen = browser.run("window.mark = 1; return state.latencies[0].time_ms")
        browser.open(self.url)
        browser.wait(lambda: browser.text("overall") == "healthy" and browser.run("return window.mark") is None)
        self.assertEqual(browser.run("return state.latencies[0].time_ms"), seen)
        browser.wait(lambda: len(self.drawn("latency")[0]) > 0)

    def test_z_complains_of_nothing_and_asks_nobody_else(self):
        self.assertEqual(self.browser.complaints(), [])
        hosts = self.browser.run("return performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
        self.assertEqual(set(hosts), {"127.0.0.1:%d" % self.daemon.port})


@unittest.skipUnless(CHROMIUM and DRIVER, "needs chromium and chromedriver")
class PageBehindAKey(Pictures, unittest.TestCase):
    def shown(self, selector):
        return self.browser.run("return getComputedStyle(document.querySelector(arguments[0])).display", selector) != "none"

    def asks(self):
        """Only the form is to be seen, and no figure is left anywhere."""
        browser = self.browser
        browser.wait(lambda: self.shown("#login"), 60)
        self.assertFalse(self.shown("#main"))
        self.assertEqual(browser.text("overall"), "key needed")
        self.assertEqual(browser.run("return document.title"), "aicache – key needed")
        self.assertEqual(browser.text("about"), "")
        figures = browser.run("return [...document.querySelectorAll('#main span[id], #main td, #main li')].map(n => n.textContent)")
        self.assertEqual([figure for figure in figures if any(letter.isdigit() for letter in figure)], [])
        drawn = browser.run("return Object.values(state.charts).flatMap(c => c.chart.data.datasets).flatMap(d => d.data).length")
        self.assertEqual(drawn, 0)

    def enter(self, key):
        self.browser.run("document.getElementById('key').value = ''")
        self.browser.type("#key", key)
        self.browser.click("#login button")

    def refused(self, key):
        before = self.browser.run("return link.tries")
        self.enter(key)
        self.browser.wait(lambda: self.browser.run("return link.tries") > before and self.browser.text("login-error") != "")
        return self.browser.text("login-error")

    def test_asks_for_the_key(self):
        daemon = Daemon(keys=[("boss", KEY, "default", True), ("web", PLAIN_KEY, "web", False)])
        self.addCleanup(daemon.close)
        fill(daemon, KEY)
        self.browser = browser = Browser()
        self.addCleanup(browser.close)
        browser.open("http://127.0.0.1:%d/" % daemon.port)
        self.asks()
        self.assertIn("not accepted", self.refused("a wrong one"))
        browser.run("document.getElementById('login-error').textContent = ''")
        # A key without the admin flag is shown its own namespace, and no card of the whole.
        self.enter(PLAIN_KEY)
        browser.wait(lambda: browser.text("overall") == "healthy")
        self.assertIn("web · ", browser.text("about"))
        for _ in range(2):
            daemon.request("POST", "/cache/lookup", {"operation": "mine", "text": "t"}, {"Authorization": "Bearer " + PLAIN_KEY})
        browser.wait(lambda: browser.text("misses") == "2")
        rows = browser.run("return [...document.querySelectorAll('#top tbody tr')].map(r => r.innerText)")
        self.assertEqual([row.split()[:3] for row in rows], [["web", "mine", "2"]])
        seen = browser.run("return [...document.querySelectorAll('section')].filter(s => s.offsetParent).map(s => s.getAttribute('aria-labelledby'))")
        self.assertEqual(seen, ["h-hit", "h-rate", "h-top"])
        browser.wait(lambda: len(browser.run("return state.charts.rate.chart.data.datasets[0].data")) > 2)
        self.assertEqual([one for one in browser.complaints() if "/monitoring/history" not in one], [])
        self.picture("own")
        browser.run("askForKey('')")
        self.asks()
        self.enter(KEY)
        browser.wait(lambda: browser.text("overall") == "healthy")
        self.assertFalse(self.shown("#login"))
        self.assertTrue(self.shown("#main"))
        self.assertEqual(browser.run("return document.activeElement.id"), "main")
        browser.wait(lambda: browser.text("misses") != "–")
        # The key changes under the open page: what was seen with the old one goes.
        port = daemon.port
        daemon.stop()
        daemon.config = daemon.config.replace(hashlib.sha256(KEY.encode()).hexdigest(), hashlib.sha256(NEXT_KEY.encode()).hexdigest())
        daemon.flags += ["--listen", "127.0.0.1:%d" % port]
        daemon.start()
        self.asks()
        self.assertIn("not accepted", browser.text("login-error"))
        self.enter(NEXT_KEY)
        browser.wait(lambda: browser.text("overall") == "healthy")
        self.assertTrue(self.shown("#main"))


@unittest.skipUnless(CHROMIUM and DRIVER, "needs chromium and chromedriver")
class PageLosesTheDaemon(unittest.TestCase):
    PATIENCE = 60

    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.browser = Browser()
        self.addCleanup(self.browser.close)
        self.browser.open("http://127.0.0.1:%d/" % self.daemon.port)
        self.wait_live()
        # What a screen reader is told: every change of the words that are announced.
        self.browser.run("window.told = []; new MutationObserver(() => told.push(document.getElementById('overall').textContent))"
                         ".observe(document.getElementById('overall'), {childList: true, characterData: true, subtree: true})")

    def wait_live(self):
        self.browser.wait(lambda: self.browser.text("overall") == "healthy" and self.dimness() == 1, self.PATIENCE)

    def dimness(self):
        return float(self.browser.run("return getComputedStyle(document.getElementById('main')).opacity"))

    def wait_stale(self):
        browser = self.browser
        browser.wait(lambda: browser.text("overall").startswith("no answer since "), self.PATIENCE)
        self.assertRegex(browser.text("overall"), r"^no answer since \d\d:\d\d:\d\d$")
        self.assertIn(browser.text("overall"), browser.run("return document.title"))
        self.assertIn("bad", browser.run("return document.getElementById('overall').className"))
        self.assertEqual(browser.run("return document.getElementById('overall').getAttribute('aria-live')"), "polite")
        browser.wait(lambda: self.dimness() < 0.7)
        # However often it is tried again, it is said once.
        tried = browser.run("return link.tries")
        browser.wait(lambda: browser.run("return link.tries") >= tried + 2, self.PATIENCE)
        self.assertEqual(browser.run("return told"), [browser.text("overall")])

    def test_a_daemon_that_hangs(self):
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            self.wait_stale()
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        self.wait_live()
        self.daemon.lookup(text="asked afterwards")
        self.browser.wait(lambda: self.browser.text("misses") == "1", self.PATIENCE)

    def test_a_daemon_that_is_started_again(self):
        port = self.daemon.port
        self.daemon.stop()
        self.wait_stale()
        self.daemon.flags += ["--listen", "127.0.0.1:%d" % port]
        self.daemon.start()
        self.wait_live()
        self.assertIn("healthy", self.browser.run("return document.title"))
        self.daemon.lookup(text="asked of the next one")
        self.browser.wait(lambda: self.browser.text("misses") == "1", self.PATIENCE)


@unittest.skipUnless(CHROMIUM and DRIVER, "needs chromium and chromedriver")
class PageWithoutMonitor(unittest.TestCase):
    def test_shows_what_there_is(self):
        daemon = Daemon(flags=("--monitor-enabled", "false"))
        self.addCleanup(daemon.close)
        fill(daemon)
        browser = Browser()
        self.addCleanup(browser.close)
        browser.open("http://127.0.0.1:%d/" % daemon.port)
        browser.wait(lambda: browser.text("overall") == "healthy")
        self.assertEqual(browser.text("misses"), str(daemon.get("/cache/status").json["total_misses"]))


if __name__ == "__main__":
    unittest.main()
