"""An agent of the Agents SDK with one local tool. Imported by the tests that need it: the SDK takes seconds to load."""

import dataclasses

from agents import (
    Agent,
    AsyncOpenAI,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)

QUIET = RunConfig(tracing_disabled=True)


@dataclasses.dataclass
class Forecaster:
    """`cities` are those that its tool was asked about."""

    client: AsyncOpenAI
    model: str = "sim-tool"
    store: bool | None = None
    include: tuple[str, ...] = ()
    cities: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        @function_tool
        def get_weather(city: str) -> str:
            """The weather in a city."""
            self.cities.append(city)
            return f"sunny, day {len(self.cities)}"

        settings = ModelSettings(store=self.store, response_include=list(self.include) or None)
        self._agent = Agent(
            name="forecaster",
            instructions="Use the tool.",
            tools=[get_weather],
            model=OpenAIResponsesModel(self.model, self.client),
            model_settings=settings,
        )

    async def run(self, asked, *, streamed=False, **fields):
        if not streamed:
            return await Runner.run(self._agent, asked, run_config=QUIET, **fields)
        result = Runner.run_streamed(self._agent, asked, run_config=QUIET, **fields)
        self.events = [event.type async for event in result.stream_events()]
        return result
