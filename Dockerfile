# The first stage builds with all packages. The second stage has only those that production needs.
FROM node:24.19-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src src
RUN npm run build && npm prune --omit=dev

FROM node:24.19-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# For `docker run … secrets check`.
RUN ln -s /app/dist/secrets/cli/cli.js /usr/local/bin/secrets
RUN install -d -o node -g node -m 0700 /data
VOLUME /data
# The user "node". Kubernetes needs the number to see that the user is not root.
USER 1000:1000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Start without npm, because npm does not pass on signals.
CMD ["node", "dist/main.js"]
