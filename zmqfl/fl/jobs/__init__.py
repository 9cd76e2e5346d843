"""Jobs: what a researcher writes, and how it becomes processes that run it.

    job_folder, app_config, fields   the files of a job, read and checked, with file, line and key in each error
    components, classes              from what the files describe to objects
    app                              all objects of one site
    builder, describe, sources       the other way: a job folder from objects
    deploy, order, job_process       what a process of a job finds, is told, and does
    job_logs, slots                  what it writes; how many of a simulation execute at once
    simulator                        a job on this machine
    host, hosted_job, archive        a job at a site of a launched federation
    desk, records, job_service       the jobs of a federation, as its server has them

Its users import from these modules.
"""
