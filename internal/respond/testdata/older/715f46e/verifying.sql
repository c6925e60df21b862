-- world: call apply 0
-- world: effect apply 0
-- world: call apply 1
-- world: effect apply 1
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-23 04:03:31');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-23 04:03:31');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-23 04:03:31');
INSERT INTO goose_db_version VALUES(4,3,1,'2026-11-23 04:03:31');
INSERT INTO goose_db_version VALUES(5,4,1,'2026-11-23 04:03:31');
INSERT INTO goose_db_version VALUES(6,5,1,'2026-11-23 04:03:31');
INSERT INTO incidents VALUES('20261123-040331.834-f6b659df',replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'verifying','','','',1,1795406611834980599,NULL,'{"cgroup":"/a"}','[{"fingerprint":"f/a","status":"firing","labels":{"alertname":"CPUThrottlingHigh","cgroup":"/a"},"startsAt":"2026-11-21T12:00:00Z"}]','{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:28.912382363Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}','{"runbook":"raise-cpu-limit","cause":"cpu.throttled","target":{"node":"node-1","cgroup":"/a"},"steps":[{"name":"first","action":"double.act","with":{"factor":2}},{"name":"second","action":"double.act"}],"verify":{"settle":"1ms","window":"1ms","improve":0.5},"undo":"automatic","evidence":["e1"],"created":"2026-11-23T04:03:31.931779902Z"}','[{"effect":"require_approval","policy":"test","rule":"ask","reason":"production","dryRun":false}]',NULL,1795407511945574998,'kmend/fcfb8624ad114faa',1795406611889990161,0);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',1,'received',1795406611834980599,'received','received','firing: "CPUThrottlingHigh" about cgroup /a','{"source":"alertmanager/kmend"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',2,'diagnosing',1795406611906751196,'diagnosing','measuring','measuring cgroup /a for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',3,'diagnosed',1795406611912441163,'diagnosing','confirmed','CPU throttled 1299 of 3000 ms','{"node":"node-1"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',4,'planned',1795406611932037464,'planned','planned','runbook raise-cpu-limit: double.act; double.act','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',5,'decided',1795406611934906502,'planned','decided','require_approval by policy test/ask: production','{"policy":"test","rule":"ask"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',6,'awaiting_approval',1795406611945666589,'awaiting_approval','awaiting_approval','waiting for an approval until 2026-11-23T04:18:31Z','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',7,'answer',1795406611950892770,'awaiting_approval','approved','approved by ada','{"by":"ada","plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',8,'intent/0',1795406611971021023,'executing','intent','step 1 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',9,'applied/0',1795406611982557550,'executing','applied','step 1 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',10,'intent/1',1795406611988688161,'executing','intent','step 2 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',11,'applied/1',1795406611994568123,'executing','applied','step 2 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040331.834-f6b659df',12,'verifying',1795406612007581047,'verifying','verifying','measuring cgroup /a again for 1ms',NULL);
INSERT INTO firings VALUES(replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'f/a',1795262400000000000,'20261123-040331.834-f6b659df');
INSERT INTO executions VALUES(1,'20261123-040331.834-f6b659df',0,'apply','{"step":0,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:31.978266286Z","ended":"2026-11-23T04:03:31.982551088Z"}');
INSERT INTO executions VALUES(2,'20261123-040331.834-f6b659df',1,'apply','{"step":1,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:31.990718052Z","ended":"2026-11-23T04:03:31.994524712Z"}');
INSERT INTO claims VALUES('cgroup||node-1|/a','20261123-040331.834-f6b659df');
INSERT INTO claims VALUES('cgroup|||/a','20261123-040331.834-f6b659df');
INSERT INTO answers VALUES('20261123-040331.834-f6b659df',1,'474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8',1,'ada','ada','',1795406611950892770);
INSERT INTO replicas VALUES('kmend','kmend/fcfb8624ad114faa',1795406611483028602,1795406612041720369,3,0);
INSERT INTO dbos_migrations VALUES(107);
INSERT INTO workflow_status VALUES('20261123-040331.834-f6b659df','PENDING','respond','','',X'6e756c6c',NULL,NULL,NULL,'kmend',1795406611863,1795406611862,'1','',NULL,NULL,1,NULL,NULL,NULL,'IjIwMjYxMTIzLTA0MDMzMS44MzQtZjZiNjU5ZGYi',NULL,NULL,0,NULL,NULL,'f85cc8ee-42c2-4221-9d0a-1df876074ebc',NULL,'DBOS_JSON',NULL,0,0,NULL,NULL,NULL,NULL,0,'kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',0,'diagnose','e30=',NULL,NULL,1795406611900,1795406611917,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',1,'claim','e30=',NULL,NULL,1795406611923,1795406611929,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',2,'plan','e30=',NULL,NULL,1795406611930,1795406611933,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',3,'guard','e30=',NULL,NULL,1795406611934,1795406611939,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',4,'approve','e30=',NULL,NULL,1795406611942,1795406611955,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040331.834-f6b659df',5,'execute','e30=',NULL,NULL,1795406611969,1795406611996,'DBOS_JSON','kmend');
INSERT INTO application_versions VALUES('4b434c35-4512-4d38-9ed4-ebeb2e017c38','1',1795406611825,1795406611825,'kmend');
INSERT INTO sqlite_sequence VALUES('goose_db_version',6);
