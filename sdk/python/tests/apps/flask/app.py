"""A Flask application as one finds it: nothing in it knows of wfn."""

import hashlib

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash

app = Flask(__name__)
app.secret_key = "only for the tests"


@app.get("/")
@app.get("/page/<name>")
def page(name=""):
    return render_template("page.html", name=name)


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.post("/form")
def form():
    upload = request.files.get("file")
    return {"name": request.form["name"], "file": upload.read().decode() if upload else None}


@app.post("/json")
def echo():
    return {"received": request.get_json()}


@app.post("/size")
def size():
    return {"bytes": len(request.get_data())}


@app.get("/missing")
def missing():
    abort(404, "it is not here")


@app.get("/error")
def error():
    return 1 / len(())


@app.get("/away")
def away():
    return redirect(url_for("page", name="Bob", _external=True))


@app.get("/stream")
def stream():
    return Response((f"part {number}\n" for number in range(1000)), mimetype="text/plain")


@app.get("/stream/broken")
def broken():
    def parts():
        yield "the first part\n" * 1000
        raise RuntimeError("broken in the middle")

    return Response(parts(), mimetype="text/plain")


@app.get("/password")
def password():
    stored = generate_password_hash("correct horse")
    right, wrong = (check_password_hash(stored, given) for given in ("correct horse", "x"))
    return {"stored": stored, "right": right, "wrong": wrong}


@app.get("/scrypt")
def scrypt():
    # RFC 7914, section 12, the second vector, with less work.
    return hashlib.scrypt(b"password", salt=b"NaCl", n=64, r=8, p=1).hex()


@app.get("/scrypt/long")
def long_scrypt():
    return hashlib.scrypt(b"password", salt=b"NaCl", n=2**18, r=8, p=1, maxmem=2**30).hex()


@app.get("/about")
def about():
    agent = request.user_agent.string
    return {"url": request.url, "root": request.root_path, "client": request.remote_addr, "agent": agent}
