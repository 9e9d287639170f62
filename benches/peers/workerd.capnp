# workerd with one worker on one socket; the port comes from the command line.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "hello", worker = .hello)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "hello")],
);

const hello :Workerd.Worker = (
  modules = [(name = "hello.mjs", esModule = embed "hello.mjs")],
  compatibilityDate = "2026-01-01",
);
