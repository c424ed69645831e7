# postcall from source, in an image with little else. Built with BuildKit, which every current Docker and Podman has:
#
#   docker build -t postcall .
#   docker run -p 8080:8080 -v postcall:/var/lib/postcall postcall     # one node, SQLite in the volume

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Only what the binary is made of, so that a change to a document builds nothing.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY bench bench
COPY cluster cluster
COPY xtask xtask
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package postcall --bin postcall \
    && strip --strip-debug -o /postcall target/release/postcall

FROM debian:bookworm-slim
# For the health check. Roots of certificates are built in.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin postcall \
    && install -d -m 0700 -o postcall -g postcall /var/lib/postcall
COPY --from=build /postcall /usr/local/bin/postcall
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/postcall/
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
VOLUME /var/lib/postcall
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["postcall"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/var/lib/postcall"]
