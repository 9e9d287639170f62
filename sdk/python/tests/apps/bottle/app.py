"""A Bottle application as one finds it: nothing in it knows of wfn."""

from bottle import Bottle, abort, request, response, static_file, template

application = Bottle()


@application.get("/")
def page():
    return template("page", title="<Fruit>", items=["apple", "pear & plum"])


@application.get("/static/<name:path>")
def static(name):
    return static_file(name, root="./static")


@application.post("/form")
def form():
    return {"name": request.forms.getunicode("name"), "color": request.forms.get("color", "none")}


@application.get("/cookie")
def cookie():
    count = request.get_cookie("count", secret="only for the tests") or 0
    response.set_cookie("count", count + 1, secret="only for the tests")
    return str(count)


@application.get("/missing")
def missing():
    abort(404, "it is not here")


@application.get("/error")
def error():
    return undefined_name  # noqa: F821


@application.get("/stream")
def stream():
    for number in range(100):
        yield f"{number}\n"
