"""A bare HTTP server in a process of its own: what this machine can do at all while something else is going on."""
import asyncio
import sys

BODY = b'{"id":0,"total_act_power":0.000}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()

asyncio.run(main())
