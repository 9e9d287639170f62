"""An Azure Functions app answers requests as it does in the cloud."""

from __future__ import annotations

import json
import unittest
from typing import Any

from apps_of_azure import deployed, module_of
from host import Client, host


class HttpTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = deployed("azure-sync", "--env", "FUNCTIONS_KEY=old,new", "--env", "FUNCTIONS_MASTER_KEY=mighty")

    def text(self, path: str) -> str:
        answer = self.client.get(path)
        self.assertEqual(answer.status, 200, path)
        return answer.text

    def echo(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
        answer = self.client.call(method, path, body, headers)
        self.assertEqual((answer.status, answer.headers["x-answer"], answer.headers["content-type"]), (201, "yes", "application/json"))
        seen = json.loads(answer.body)
        assert isinstance(seen, dict)
        return seen

    def test_a_module_reads_its_settings_while_it_is_imported(self) -> None:
        self.assertEqual(self.text("/api/hello?name=Ann"), "good day, Ann")
        log = self.client.log()
        self.assertIn("INFO: saying hello to Ann", log)
        self.assertNotIn("this is not shown", log)

    def test_what_a_function_gets_of_a_request(self) -> None:
        headers = {"X-Mixed": "One", "Content-Type": "application/x-www-form-urlencoded", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        seen = self.echo("POST", "/api/echo/a%2Fb/%C3%A4?x=1&x=2&y&z=", b"name=A%C3%A4", headers)
        self.assertEqual((seen["method"], seen["route"], seen["params"]), ("POST", {"rest": "a%2Fb/ä"}, {"x": "1,2"}))
        self.assertEqual((seen["header"], seen["body"], seen["form"]), ("One", "name=A%C3%A4", {"name": "Aä"}))
        self.assertEqual(seen["url"], f"http://{self.client.host.address}/api/echo/a%2Fb/%C3%A4?x=1&x=2&y&z=")
        self.assertEqual((seen["function"], seen["folder"]), ("echo", "/0"))
        self.assertIn("a" * 32, seen["trace"])
        self.assertNotEqual(seen["invocation"], self.echo("GET", "/api/echo")["invocation"])

    def test_files_of_a_form_larger_than_half_a_megabyte(self) -> None:
        large = "x" * 600_000
        body = f'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\n{large}\r\n--x--\r\n'.encode()
        seen = self.echo("PUT", "/api/echo", body, {"Content-Type": "multipart/form-data; boundary=x"})
        self.assertEqual(seen["files"], {"f": large})

    def test_the_most_exact_route_answers(self) -> None:
        for path, text in {
            "/api/items/special": "special",
            "/api/ITEMS/Special": "special",
            "/api/items/5": "number 5",
            "/api/items/2147483648": "name 2147483648",
            "/api/items/x%20y": "name x y",
            "/api/pages": '{"page": "1"}',
            "/api/pages/3/7/": '{"page": "3", "size": "7"}',
            "/api/files/a.b.txt": "a.b | txt",
            "/api/codes/AB": "code AB",
            "/api/blue/red": "blueprint red",
        }.items():
            self.assertEqual(self.text(path), text, path)
        for path in ("/", "/api", "/items/5", "/api/items", "/api/pages/3/700", "/api/files/a.text", "/api/codes/ABC", "/api/blue/r2", "/api/hello/x"):
            self.assertEqual(self.client.get(path).status, 404, path)

    def test_a_path_cannot_be_made_that_takes_long_to_look_at(self) -> None:
        self.assertEqual(self.text("/api/parts/1-2-3-4-5.end"), '{"a": "1-2", "b": "3", "c": "4", "d": "5"}')
        self.assertEqual(self.client.get(f"/api/parts/{'-' * 30_000}").status, 404)

    def test_methods(self) -> None:
        self.assertEqual(self.client.call("DELETE", "/api/echo").status, 404)
        self.assertEqual(self.client.get("/api/json").status, 404)
        self.assertEqual(self.client.call("DELETE", "/api/hello").status, 200)

    def test_answers(self) -> None:
        self.assertEqual(self.client.post("/api/json", b'{"a": [1, null]}', "application/json").text, '{"a": [1, null]}')
        self.assertEqual(self.client.post("/api/json", b"{", "application/json").status, 400)
        answer = self.client.get("/api/items/5")
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual((self.client.get("/api/nothing").status, self.client.get("/api/nothing").body), (204, b""))
        cookies = self.client.get("/api/cookies").headers.get_all("set-cookie")
        self.assertEqual(cookies, ["a=1; Path=/", "b=2; Path=/"])
        self.client.cookies.clear()

    def test_keys(self) -> None:
        for path, key, status in (
            ("guarded", "", 401), ("guarded", "wrong", 401), ("guarded", "old", 200), ("guarded", "new", 200), ("guarded", "old,new", 401),
            ("guarded", "mighty", 200), ("master", "new", 401), ("master", "mighty", 200),
        ):  # fmt: skip
            with self.subTest(path=path, key=key):
                self.assertEqual(self.client.get(f"/api/{path}", {"x-functions-key": key}).status, status)
                self.assertEqual(self.client.get(f"/api/{path}?code={key}").status, status)
        self.assertEqual(self.client.get("/api/guarded?code=%C3%A4").status, 401)

    def test_an_exception_is_500_with_its_traceback_in_the_log_only(self) -> None:
        answer = self.client.get("/api/fails")
        self.assertEqual((answer.status, answer.body), (500, b""))
        log = self.client.log()
        self.assertIn("GET /api/fails failed:", log)
        self.assertIn("ValueError: a secret in the exception", log)
        self.assertIn('raise ValueError("a secret in the exception")', log)
        self.assertNotIn("wfn/azure", log)
        self.assertEqual(self.client.get("/api/wrong").status, 500)
        self.assertIn("TypeError: the function returned dict; return an HttpResponse or text", self.client.log())

    def test_a_function_that_ends_python_is_500_too(self) -> None:
        answer = self.client.get("/api/quits")
        self.assertEqual((answer.status, answer.body), (500, b""))
        log = self.client.log()
        self.assertIn('sys.exit("a secret at the end")', log)
        self.assertIn("RuntimeError: quits called sys.exit; let it return, or raise an exception", log)
        self.assertNotIn("wfn/azure", log)

    def test_a_missing_setting_is_named_and_the_import_is_tried_again(self) -> None:
        # Without the wfn.toml that has it.
        client = host().deploy(module_of("azure-sync"), "azure-unset")
        for _ in range(2):
            self.assertEqual(client.get("/api/items/5").status, 500)
        line = "the setting GREETING is missing: put it into [env] of wfn.toml, or run 'wfn secret put APP GREETING'"
        self.assertEqual(client.log().count(line), 2)
        host().deploy(module_of("azure-sync"), "azure-unset", "--env", "GREETING=here", "--env", "STATE_QUEUE=state")
        self.assertEqual(client.get("/api/hello").text, "here, nobody")

    def test_settings_override_host_json(self) -> None:
        settings = ("--env", "GREETING=x", "--env", "STATE_QUEUE=state", "--env", "AzureFunctionsJobHost__logging__logLevel__Function=Error")
        client = host().deploy(module_of("azure-sync"), "azure-other", *settings, "--env", "AzureFunctionsJobHost__extensions__http__routeprefix=v1/")
        self.assertEqual((client.get("/v1/hello").text, client.get("/api/hello").status), ("x, nobody", 404))
        self.assertNotIn("saying hello", client.log())

    def test_without_a_key_nobody_may_call_but_who_develops(self) -> None:
        settings = ("--env", "GREETING=x", "--env", "STATE_QUEUE=state")
        client = host().deploy(module_of("azure-sync"), "azure-keyless", *settings)
        self.assertEqual((client.get("/api/guarded").status, client.get("/api/guarded?code=").status), (401, 401))
        self.assertIn("guarded has the level function, and no key is set: run 'wfn secret put APP FUNCTIONS_KEY_GUARDED'", client.log())
        host().deploy(module_of("azure-sync"), "azure-keyless", *settings, "--env", "AZURE_FUNCTIONS_ENVIRONMENT=Development")
        self.assertEqual(client.get("/api/guarded").text, "inside")


if __name__ == "__main__":
    unittest.main()
