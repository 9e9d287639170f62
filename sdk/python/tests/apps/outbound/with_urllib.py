"""Requests by `urllib.request` and `http.client`, as in any Python."""

import http.client
import http.cookiejar
import json
import os
import urllib.parse
import urllib.request

try:
    urllib.request.urlopen("http://127.0.0.1/")
except OSError as error:
    AT_BUILD = str(error)


def at_build(base):
    return AT_BUILD


def get(base):
    request = urllib.request.Request(f"http://{base}/echo/ä?a=%20b".replace("ä", "%C3%A4"), headers={"X-Own": "mine"})
    with urllib.request.urlopen(request) as answer:
        seen = json.load(answer)
        return [answer.status, answer.headers["content-type"], answer.url, seen["path"], seen["headers"]]


def post(base):
    data = urllib.parse.urlencode({"name": "Zoë"}).encode()
    with urllib.request.urlopen(f"http://{base}/echo", data) as answer:
        seen = json.load(answer)
    return [seen["method"], seen["body"], seen["headers"]["content-type"], seen["headers"]["content-length"]]


def post_chunks(base):
    request = urllib.request.Request(f"http://{base}/echo", data=iter([b"first ", b"second"]), method="PUT")
    with urllib.request.urlopen(request) as answer:
        seen = json.load(answer)
    return [seen["method"], seen["body"]]


def redirect(base):
    with urllib.request.urlopen(f"http://{base}/redirect?times=3") as answer:
        return [answer.status, json.load(answer)["path"], answer.url]


def cookies(base):
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with opener.open(f"http://{base}/cookie") as answer:
        return json.load(answer)["headers"].get("cookie")


def basic_auth(base):
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    manager.add_password(None, f"http://{base}/", "user", "pass word")
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    with opener.open(f"http://{base}/private") as answer:
        return answer.read().decode()


def not_found(base):
    urllib.request.urlopen(f"http://{base}/nothing")


def head(base):
    with urllib.request.urlopen(urllib.request.Request(f"http://{base}/large", method="HEAD")) as answer:
        return [answer.status, answer.headers["content-length"], len(answer.read())]


def empty(base):
    with urllib.request.urlopen(f"http://{base}/status?code=204") as answer:
        return [answer.status, answer.read().decode()]


def stream(base):
    with urllib.request.urlopen(f"http://{base}/chunks") as answer:
        return [line.decode() for line in answer]


def large(base):
    sizes = []
    with urllib.request.urlopen(f"http://{base}/large") as answer:
        while data := answer.read(100_000):
            sizes.append(len(data))
    return sizes


def left_unread(base):
    for _ in range(50):
        with urllib.request.urlopen(f"http://{base}/large") as answer:
            answer.read(10)
        urllib.request.urlopen(f"http://{base}/large")
    return "alive"


def cut(base):
    with urllib.request.urlopen(f"http://{base}/cut") as answer:
        answer.read()


def https(base):
    with urllib.request.urlopen(f"https://{os.environ['SECURE']}/echo") as answer:
        return [answer.status, json.load(answer)["headers"]["host"]]


def untrusted(base):
    urllib.request.urlopen(f"https://{os.environ['UNTRUSTED']}/echo")


def timeout(base):
    urllib.request.urlopen(f"http://{base}/wait?ms=1000", timeout=0.1)


def read_timeout(base):
    with urllib.request.urlopen(f"http://{base}/stall", timeout=0.2) as answer:
        answer.read()


def refused(base):
    urllib.request.urlopen("https://example.com/path")


def private_address(base):
    urllib.request.urlopen("http://10.1.2.3/")


def unknown_name(base):
    urllib.request.urlopen("http://no-such-name.invalid/")


def nobody_listens(base):
    urllib.request.urlopen(f"http://{os.environ['CLOSED']}/")


def proxy(base):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{base}"}))
    opener.open("http://example.com/")


def at_once(base):
    connections = [http.client.HTTPConnection(base) for _ in range(10)]
    for connection in connections:
        connection.request("GET", "/wait?ms=200")
    return [connection.getresponse().read().decode() for connection in connections]


def by_fetch_all(base):
    from wfn.fetch import Request, fetch_all

    answers = fetch_all([Request(f"http://{base}/wait?ms=200"), Request(f"http://{base}/echo", "POST", {"x-own": "mine"}, b"body")] * 5)
    return [answers[0].status, answers[0].body.decode(), json.loads(answers[9].body)["body"], answers[9].headers["content-type"]]


def used_again(base):
    connection = http.client.HTTPConnection(base)
    bodies = []
    for number in range(3):
        connection.request("POST", "/echo", f"number {number}")
        bodies.append(json.load(connection.getresponse())["body"])
    connection.close()
    return bodies
