import type { ViewProps } from "../app";
import { type Container, part } from "../api";
import { when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Badge, Empty, Ready, Table } from "../parts";
import { Life, ports } from "./container";

export function Containers({ readOnly }: ViewProps) {
  const containers = useDocument<Container[]>("/containers", "containers");
  return (
    <>
      <h1>{t("containers")}</h1>
      <Ready of={containers}>
        {(rows) =>
          rows.length === 0 ? (
            <Empty text={t("noContainers")} type="bld run -d --name web -p 8080:80 nginx" />
          ) : (
            <Table
              label={t("containers")}
              rows={rows}
              id={(row) => row.id}
              href={(row) => `/containers/${part(row.name)}`}
              columns={[
                { title: t("name"), show: (row) => row.name },
                { title: t("status"), show: (row) => <Badge state={row.status} /> },
                { title: t("image"), show: (row) => row.image, wide: true },
                { title: t("command"), show: (row) => <code>{row.command.join(" ")}</code>, wide: true },
                { title: t("ports"), show: (row) => ports(row).join(", "), wide: true },
                { title: t("created"), show: (row) => when(row.createdAt, language.value), end: true, wide: true },
                ...(readOnly
                  ? []
                  : [{ title: "", end: true, show: (row: Container) => <Life container={row} again={containers.again} /> }]),
              ]}
            />
          )
        }
      </Ready>
    </>
  );
}
