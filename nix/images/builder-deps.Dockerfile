# The builder's Python dependencies; apart from its source, so that an edit costs no download.
ARG BASE
FROM ${BASE}
COPY site-packages/ /opt/site-packages/
RUN python3 -m compileall -q /opt/site-packages \
 && PYTHONPATH=/opt/site-packages python3 -c 'import nats, orjson, pydantic, pydantic_settings'
