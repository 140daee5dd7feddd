"""Stands in for session-manager-plugin: its arguments, its words, its exit code; not its protocol.

After src/sessionmanagerplugin/session/session.go: the session comes by the variable that the first
argument names, all that it has to say goes to stdout, and it always exits with 0. It ends when its
stdin does, as the real one.
"""

import base64
import json
import os
import sys
import threading
import urllib.request

VERSION = "1.2.707.0"


def main():
    if sys.argv[1:] == ["--version"]:
        print(VERSION)
        return
    variable, region, operation, _profile, asked, endpoint = sys.argv[1:]
    session = json.loads(os.environ.pop(variable))
    assert operation == "StartSession"
    assert "Target" in json.loads(asked)
    assert region in endpoint
    say(f"\nStarting session with SessionId: {session['SessionId']}\n".encode())
    threading.Thread(target=until_stdin_ends, daemon=True).start()
    is_over = False
    while not is_over:
        body = json.dumps({"token": session["TokenValue"]}).encode()
        request = urllib.request.Request(f"{endpoint}/_rig/session", body, method="POST")
        with urllib.request.urlopen(request) as answer:
            said = json.load(answer)
        say(base64.b64decode(said["output"]))
        is_over = said["is_over"]
    say(f"\n\nExiting session with sessionId: {session['SessionId']}.\n\n".encode())


def until_stdin_ends():
    while os.read(0, 1024):
        pass
    say(b"Cannot perform start session: EOF\n")
    os._exit(0)


def say(text):
    os.write(1, text)


main()
