"""Models over HTTP: OpenAI's Images API and the other verbs, for programs. `imggen serve`; docs/service.md.

`worker` is a queue that knows neither HTTP nor models; `models` keeps models within a bound of memory; `batches` and
`verbs` are what the worker runs; `openai` is the form of requests and answers; `uploads`, `sending`, `guards`, `keys`
and `shelf` bound what comes in and keep users apart; `app` joins them; `running` is the process.
"""
