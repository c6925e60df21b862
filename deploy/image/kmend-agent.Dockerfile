# The agent of a node: one static program and nothing else. It is root, since it
# reads other users' processes and loads eBPF programs; which capabilities it has
# is for whoever runs it to say (docs/agents.md), and what it needs are those.
FROM scratch
ARG TARGETARCH
ARG VERSION=devel
LABEL org.opencontainers.image.title="kmend-agent" \
      org.opencontainers.image.description="Measures with eBPF, on demand and within a budget, why something on its node is slow" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
      org.opencontainers.image.version="${VERSION}"
COPY linux/${TARGETARCH}/kmend-agent linux/${TARGETARCH}/kmend-agent.cdx.json /
USER 0:0
EXPOSE 9791
# For `kubectl exec ... -- kmend-agent`: nothing else looks for it.
ENV PATH=/
ENTRYPOINT ["/kmend-agent"]
CMD ["serve"]
