"""Models over HTTP: OpenAI's Images API and the other verbs, for programs. `imggen serve`; docs/service.md.

`worker` is a queue that makes pictures and knows no HTTP; `models` keeps models within a memory bound; `jobs` is what
the worker runs; `making` puts requests into words of the package; `openai` is the form of requests and answers; `keys`,
`guards` and `shelf` keep users apart and bounded; `app` joins them; `running` is the process.
"""
