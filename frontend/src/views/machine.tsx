import type { ViewProps } from "../app";
import { type Network, part, send, type Volume } from "../api";
import { bytes, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Action, Empty, Ready, Table } from "../parts";

function Users({ names }: { names: string[] }) {
  if (names.length === 0) return <span class="quiet">{t("nobody")}</span>;
  return (
    <>
      {names.map((name, index) => (
        <span key={name}>
          {index > 0 && ", "}
          <a href={`/containers/${part(name)}`}>{name}</a>
        </span>
      ))}
    </>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return (
    <ul class="plain">
      {Object.entries(labels).map(([name, value]) => (
        <li key={name}>
          <code>
            {name}={value}
          </code>
        </li>
      ))}
    </ul>
  );
}

export function Volumes({ readOnly }: ViewProps) {
  const volumes = useDocument<Volume[]>("/volumes", "volumes");
  return (
    <>
      <h1>{t("volumes")}</h1>
      <Ready of={volumes}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty text={t("noVolumes")} type="bld volume create data" />
          ) : (
            <Table
              label={t("volumes")}
              rows={rows}
              id={(row) => row.name}
              columns={[
                { title: t("name"), show: (row) => <code>{row.anonymous ? row.name.slice(0, 12) : row.name}</code> },
                { title: t("usedBy"), show: (row) => <Users names={row.usedBy} /> },
                { title: t("labels"), show: (row) => <Labels labels={row.labels} />, wide: true },
                { title: t("size"), show: (row) => bytes(row.size), end: true },
                { title: t("created"), show: (row) => when(row.createdAt, language.value), end: true, wide: true },
                ...(readOnly
                  ? []
                  : [
                      {
                        title: "",
                        end: true,
                        show: (row: Volume) => (
                          <Action
                            title={t("remove")}
                            sure={t("sure", row.name)}
                            danger
                            disabled={row.usedBy.length > 0}
                            act={() => send("DELETE", `/volumes/${part(row.name)}`).then(volumes.again)}
                          />
                        ),
                      },
                    ]),
              ]}
            />
          )
        }
      </Ready>
    </>
  );
}

export function Networks({ readOnly }: ViewProps) {
  const networks = useDocument<Network[]>("/networks", "networks");
  return (
    <>
      <h1>{t("networks")}</h1>
      <Ready of={networks}>
        {(rows) => (
          <Table
            label={t("networks")}
            rows={rows}
            id={(row) => row.id}
            columns={[
              { title: t("name"), show: (row) => row.name },
              { title: t("driver"), show: (row) => row.driver, wide: true },
              { title: t("subnet"), show: (row) => row.subnet ?? "", wide: true },
              { title: t("usedBy"), show: (row) => <Users names={row.usedBy} /> },
              { title: t("labels"), show: (row) => <Labels labels={row.labels} />, wide: true },
              ...(readOnly
                ? []
                : [
                    {
                      title: "",
                      end: true,
                      show: (row: Network) =>
                        row.predefined ? null : (
                          <Action
                            title={t("remove")}
                            sure={t("sure", row.name)}
                            danger
                            disabled={row.usedBy.length > 0}
                            act={() => send("DELETE", `/networks/${part(row.name)}`).then(networks.again)}
                          />
                        ),
                    },
                  ]),
            ]}
          />
        )}
      </Ready>
    </>
  );
}
