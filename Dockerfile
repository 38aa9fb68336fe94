# All programs in one image; compose.yaml starts each from it.
#   docker build -t sagad .
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
      cmake ninja-build gcc libc6-dev pkg-config protobuf-compiler nanopb libnanopb-dev python3 \
      python3-protobuf libevent-dev libhiredis-dev libcjson-dev libssl-dev libjwt-dev uthash-dev \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY proto proto
COPY lua lua
COPY lib lib
COPY sdk sdk
COPY coordinator coordinator
COPY services services
COPY cli cli
COPY bench bench
RUN cmake --preset release -DSAGAD_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local \
    && cmake --build --preset release \
    && DESTDIR=/out cmake --install build/release --strip --component sagad

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      libevent-core-2.1-7 libevent-extra-2.1-7 libhiredis0.14 libcjson1 libssl3 libjwt0 curl \
    && apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin sagad
COPY --from=build /out/usr/local/ /usr/local/
USER sagad
CMD ["sagad"]
