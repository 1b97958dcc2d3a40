"""python forward.py SOCKET -- command: runs the command with a port of 127.0.0.1 that leads to SOCKET.

{port} in its words becomes that port. It ends as the command does.
"""
import socket
import subprocess
import sys
import threading


def main():
    path, words = sys.argv[1], sys.argv[3:]
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(64)
    threading.Thread(target=accept, args=(server, path), daemon=True).start()
    port = str(server.getsockname()[1])
    code = subprocess.call([word.replace("{port}", port) for word in words])
    sys.exit(code if code >= 0 else 128 - code)


def accept(server, path):
    while True:
        threading.Thread(target=serve, args=(server.accept()[0], path), daemon=True).start()


def serve(client, path):
    with client, socket.socket(socket.AF_UNIX) as proxy:
        try:
            proxy.connect(path)
        except OSError as error:
            print("forward.py: cannot reach " + path + ": " + str(error), file=sys.stderr)
            return
        back = threading.Thread(target=pipe, args=(proxy, client), daemon=True)
        back.start()
        pipe(client, proxy)
        back.join()


def pipe(source, target):
    try:
        data = source.recv(65536)
        while data:
            target.sendall(data)
            data = source.recv(65536)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction is to end too.
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


main()
