-- world: call apply 0
-- world: effect apply 0
-- world: call apply 1
-- world: effect apply 1
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-23 04:03:10');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-23 04:03:10');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-23 04:03:10');
INSERT INTO incidents VALUES('20261123-040310.418-a07f5128',replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'verifying','','','',1,1795406590418715546,NULL,'{"cgroup":"/a"}','[{"fingerprint":"f/a","status":"firing","labels":{"alertname":"CPUThrottlingHigh","cgroup":"/a"},"startsAt":"2026-11-21T12:00:00Z"}]','{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:07.436817545Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}','{"runbook":"raise-cpu-limit","cause":"cpu.throttled","target":{"node":"node-1","cgroup":"/a"},"steps":[{"name":"first","action":"double.act","with":{"factor":2}},{"name":"second","action":"double.act"}],"verify":{"settle":"1ms","window":"1ms","improve":0.5},"undo":"automatic","evidence":["e1"],"created":"2026-11-23T04:03:10.602431031Z"}','[{"effect":"require_approval","policy":"test","rule":"ask","reason":"production","dryRun":false}]',NULL,1795407490645022189);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',1,'received',1795406590418715546,'received','received','firing: "CPUThrottlingHigh" about cgroup /a','{"source":"alertmanager/kmend"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',2,'diagnosing',1795406590434583803,'diagnosing','measuring','measuring cgroup /a for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',3,'diagnosed',1795406590436825430,'diagnosing','confirmed','CPU throttled 1299 of 3000 ms','{"node":"node-1"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',4,'planned',1795406590602625074,'planned','planned','runbook raise-cpu-limit: double.act; double.act','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',5,'decided',1795406590636900160,'planned','decided','require_approval by policy test/ask: production','{"policy":"test","rule":"ask"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',6,'awaiting_approval',1795406590645121936,'awaiting_approval','awaiting_approval','waiting for an approval until 2026-11-23T04:18:10Z','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',7,'answer',1795406590666980646,'awaiting_approval','approved','approved by ada','{"by":"ada","plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',8,'intent/0',1795406590677496096,'executing','intent','step 1 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',9,'applied/0',1795406590698018967,'executing','applied','step 1 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',10,'intent/1',1795406590710726871,'executing','intent','step 2 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',11,'applied/1',1795406590781400720,'executing','applied','step 2 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040310.418-a07f5128',12,'verifying',1795406590798908128,'verifying','verifying','measuring cgroup /a again for 1ms',NULL);
INSERT INTO firings VALUES(replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'f/a',1795262400000000000,'20261123-040310.418-a07f5128');
INSERT INTO approvals VALUES('20261123-040310.418-a07f5128','474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8',1,'ada',1795406590666980646);
INSERT INTO executions VALUES(1,'20261123-040310.418-a07f5128',0,'apply','{"step":0,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:10.682012346Z","ended":"2026-11-23T04:03:10.698006633Z"}');
INSERT INTO executions VALUES(2,'20261123-040310.418-a07f5128',1,'apply','{"step":1,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:10.765234205Z","ended":"2026-11-23T04:03:10.781392805Z"}');
INSERT INTO claims VALUES('cgroup||node-1|/a','20261123-040310.418-a07f5128');
INSERT INTO claims VALUES('cgroup|||/a','20261123-040310.418-a07f5128');
INSERT INTO heartbeat VALUES(1,1795406590790359913);
INSERT INTO dbos_migrations VALUES(107);
INSERT INTO workflow_status VALUES('20261123-040310.418-a07f5128','PENDING','respond','','',X'6e756c6c',NULL,NULL,NULL,'kmend',1795406590431,1795406590430,'1','',NULL,NULL,1,NULL,NULL,NULL,'IjIwMjYxMTIzLTA0MDMxMC40MTgtYTA3ZjUxMjgi',NULL,NULL,0,NULL,NULL,'efa0f909-fef3-4727-b061-435ca620bbbb',NULL,'DBOS_JSON',NULL,0,0,NULL,NULL,NULL,NULL,0,'kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',0,'diagnose','e30=',NULL,NULL,1795406590433,1795406590438,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',1,'claim','e30=',NULL,NULL,1795406590440,1795406590458,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',2,'plan','e30=',NULL,NULL,1795406590535,1795406590627,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',3,'guard','e30=',NULL,NULL,1795406590636,1795406590639,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',4,'approve','e30=',NULL,NULL,1795406590642,1795406590676,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040310.418-a07f5128',5,'execute','e30=',NULL,NULL,1795406590676,1795406590791,'DBOS_JSON','kmend');
INSERT INTO application_versions VALUES('8a9197a9-99ad-413d-8376-71a853dd93c8','1',1795406590399,1795406590399,'kmend');
INSERT INTO sqlite_sequence VALUES('goose_db_version',3);
