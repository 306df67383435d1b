"""The fastmcp client against a server that asks back: lists, calls, answers a sampling and an elicitation, hears progress, gives a call up.

Argument: URL of the conformance fixture, or of what stands before it. Prints one line of JSON.
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult


async def main() -> None:
    heard = []

    async def sample(messages, params, context):
        return "an answer of the model"

    async def elicit(message, response_type, params, context):
        return ElicitResult(action="decline")

    async def progress(done, total, message):
        heard.append(done)

    async with Client(
        sys.argv[1], sampling_handler=sample, elicitation_handler=elicit, progress_handler=progress
    ) as client:
        tools = await client.list_tools()

        async def call(name, arguments):
            result = await client.call_tool(name, arguments, raise_on_error=False)
            return result.content[0].text

        said = {
            "tools": len(tools),
            "text": await call("test_simple_text", {}),
            "sampled": await call("test_sampling", {"prompt": "a question"}),
            "elicited": await call("test_elicitation", {"message": "a question"}),
            "worked": await call("test_tool_with_progress", {}),
            "heard": heard,
        }
        try:
            await asyncio.wait_for(call("slow_compute", {"seconds": 30}), 0.5)
        except TimeoutError:
            said["gave_up"] = True
        said["after"] = await call("test_simple_text", {})
        print(json.dumps(said))


asyncio.run(main())
