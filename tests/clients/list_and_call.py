"""The official Python SDK against servers: lists the tools of each and calls the one that is named.

Arguments, for each server: URL, tool, arguments as JSON. One line of JSON for each.
"""

import asyncio
import json
import sys

import mcp


async def main() -> None:
    words = sys.argv[1:]
    for url, name, arguments in zip(words[0::3], words[1::3], words[2::3], strict=True):
        async with mcp.Client(url) as client:
            tools = await client.list_tools()
            resources = await client.list_resources()
            prompts = await client.list_prompts()
            result = await client.call_tool(name, json.loads(arguments))
            print(
                json.dumps(
                    {
                        "tools": len(tools.tools),
                        "resources": len(resources.resources),
                        "prompts": len(prompts.prompts),
                        "isError": bool(result.is_error),
                        "structured": result.structured_content,
                    }
                )
            )


asyncio.run(main())
